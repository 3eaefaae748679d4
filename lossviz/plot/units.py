"""The unit of a loss in figures, as the result files state it."""

from collections.abc import Iterable

import xarray as xr


def loss_label(losses: Iterable[xr.DataArray], name: str = "loss") -> str:
    """What the axis of some losses says: the name, and their unit where all of them are in nats."""
    return f"{name} (nats)" if {each.attrs.get("units") for each in losses} == {"nat"} else name


def after_number(values: xr.DataArray) -> str:
    """What follows a number of these values: the unit of a loss and of its derivatives, where that is the nat."""
    return " nat" if values.attrs.get("units") == "nat" else ""
