"""A scan of a bowl, on which all is well, and which findings there are of it."""

from typing import Any

import numpy as np
import xarray as xr

from lossviz.results import DONE
from lossviz.surface.sanity import findings

CENTRE = "no point of the grid"
AGREE = "they should agree"
LOWEST = "no local minimum"
ANGLE = "far from perpendicular"
LENGTH = "times as long as the other"
FINITE = "NaN or infinite"
NOISE = "standard error is"
PATH = "not the loss of the checkpoints"
STATISTICS = "statistics are its own"
OTHERS = "which no direction moves"
LEFT = "leaves them where they are"
ZERO = "zero as far as can be told"
DATA = "not those that the run was trained on"
CLASSES = "examples are of"
ALL = (CENTRE, AGREE, LOWEST, ANGLE, LENGTH, FINITE, NOISE, PATH, STATISTICS, OTHERS, LEFT, DATA, CLASSES, ZERO)


def bowl(**attributes: Any) -> xr.Dataset:
    """L = 1 + x^2 + y^2 on a rectangular grid around the checkpoint, and three checkpoints: all is well."""
    x, y = np.linspace(-1, 1, 5), np.linspace(-0.5, 0.5, 3)
    loss = 1 + x**2 + y[:, None] ** 2
    names = np.array(["step 1", "step 2", "step 3"], dtype=object)
    return xr.Dataset(
        {
            "loss": (("y", "x"), loss),
            "loss_stderr": (("y", "x"), np.full((3, 5), 0.01)),
            "status": (("y", "x"), np.full((3, 5), DONE, np.int8)),
            "checkpoint_loss": ("checkpoint", [2.0, 1.5, 1.0]),
            "checkpoint_plane_loss": ("checkpoint", [2.1, 1.45, 1.0]),
            "checkpoint_distance": ("checkpoint", [0.5, 0.25, 0.0]),
        },
        coords={"x": x, "y": y, "checkpoint": names},
        attrs={
            "checkpoint": "step 3",
            "precision": "float32",
            "x_norm": 2.0,
            "y_norm": 3.0,
            "cosine": 0.01,
            "trajectory": 1,
            **attributes,
        },
    )


def said(results: xr.Dataset) -> set[str]:
    """Which findings there are; none says two things."""
    lines = findings(results)
    found = [[each for each in ALL if each in line] for line in lines]
    assert all(len(each) == 1 for each in found), lines
    assert len(lines) == len({each[0] for each in found})
    return {each[0] for each in found}


def at(results: xr.Dataset, x: float, y: float, name: str = "loss") -> xr.DataArray:
    """A point, to be written to as `[...]`."""
    return results[name].sel(x=x, y=y)
