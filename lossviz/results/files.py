"""Result files: netCDF-4 through xarray, whole, sealed, and explained by their own attributes."""

import io
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lossviz._version import __version__
from lossviz.config import Config
from lossviz.config.reading import dump
from lossviz.files import atomic_write, check_owner, read_sealed, seal

# Bytes of an array; HDF5's index of compressed chunks takes some 3 kB.
WORTH_COMPRESSING = 16_384

# The kinds of results, as their titles end.
CURVES, MEASUREMENTS, SURFACE = "training curves", "measurements along the gradient", "loss surface"


def save_results(path: Path, results: xr.Dataset, *, compressed: bool = False) -> None:
    """Write a dataset as netCDF-4 (HDF5).

    Args:
        path: where to.
        results: what.
        compressed: without loss, as for publishing; a third of the size, and slower to write.
    """
    buffer = io.BytesIO()
    packing = {"zlib": True, "complevel": 9, "shuffle": True} if compressed else {}
    # Without _FillValue: NaN is a result here, not a hole.
    plain = {
        name: {"_FillValue": None, **(packing if each.nbytes > WORTH_COMPRESSING else {})}
        for name, each in results.variables.items()
    }
    results.to_netcdf(buffer, engine="h5netcdf", encoding=plain)
    atomic_write(path, seal(buffer.getvalue()))


def load_results(path: Path, of: tuple[str, ...] = ()) -> xr.Dataset:
    """Read a result file into memory; nothing stays open or locked.

    Args:
        path: of the file.
        of: the run that it must be of, see `Run.titles`; empty where any will do.

    Raises:
        RequestError: there is no such file.
        WorkError: the file is cut short or altered, or is of another run or kind.
    """
    content = read_sealed(path, "restore it from a copy, or measure again: the same command with --fresh")
    with xr.open_dataset(io.BytesIO(content), engine="h5netcdf") as file:
        results: xr.Dataset = file.load().drop_encoding()
    _check_kind(path, str(results.attrs.get("title", "")))
    names = [results.attrs[name] for name in ("experiment", "variant") if name in results.attrs]
    check_owner(path, "/".join(map(str, names)), of)
    return results


def _check_kind(path: Path, title: str) -> None:
    """Refuse one kind of results in the place of another; other names and other people's titles may be anything."""
    kind = title.rpartition(": ")[2]
    wanted = (
        SURFACE if path.name.startswith("surface-") else {"train.nc": CURVES, "probe.nc": MEASUREMENTS}.get(path.name)
    )
    if wanted and kind in (CURVES, MEASUREMENTS, SURFACE):
        check_owner(path, kind, (wanted,))


def variable(dims: str | tuple[str, ...], values: ArrayLike, long_name: str, units: str) -> xr.Variable:
    """An array that says what it is."""
    return xr.Variable(dims, np.asarray(values), {"long_name": long_name, "units": units})


def in_units(results: xr.Dataset) -> xr.Dataset:
    """Give results in nats the units of the loss that their attribute `loss_function` names.

    Cross-entropy is in nats; any other loss has the unit 1. Parameters have no unit, so gradients and Hessians have
    that of the loss, and steps along a gradient its inverse. Results that name no loss stay as they are.

    Example:
        >>> loss = xr.Dataset({"loss": variable((), 0.5, "loss", "nat")}, attrs={"loss_function": "squared-error"})
        >>> in_units(loss).loss.units
        '1'
    """
    if results.attrs.get("loss_function", "cross-entropy") == "cross-entropy":
        return results
    found = results.copy()
    for each in found.variables.values():
        if "nat" in str(each.attrs.get("units")):  # also 1/nat and nat^2
            each.attrs["units"] = "1"
    return found


def protocol(config: Config, loss_function: str, title: str) -> dict[str, str | int]:
    """Attributes that every result file has: run, loss, and the whole configuration that made it."""
    return attributes(config.name, config.variant, config.seed, dump(config), loss_function, title)


def attributes(
    experiment: str, variant: str, seed: int, configuration: str, loss_function: str, title: str
) -> dict[str, str | int]:
    """The same of a run that has no configuration of lossviz, but something like it: YAML."""
    return {
        "title": f"{experiment}/{variant}: {title}",
        "experiment": experiment,
        "variant": variant,
        "seed": seed,
        "loss_function": loss_function,
        "configuration": configuration,
        "lossviz": __version__,
    }
