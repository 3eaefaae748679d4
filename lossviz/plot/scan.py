"""What the file of a surface says: its losses, and which points are still to be computed or not finite."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lossviz.plot.axes import Floats

_TO_DO, _NOT_FINITE = 0, 2


def losses(results: xr.Dataset) -> Floats:
    """The losses: of a plane (y, x), of a line (x,)."""
    return _rows_of_y(results.loss).astype(float)


def to_do(results: xr.Dataset) -> NDArray[np.bool_]:
    """Which points are still to be computed."""
    return np.asarray(_rows_of_y(results.status) == _TO_DO)


def not_finite(results: xr.Dataset) -> NDArray[np.bool_]:
    """Which points were computed and are NaN or infinite."""
    return np.asarray(_rows_of_y(results.status) == _NOT_FINITE)


def is_empty(results: xr.Dataset) -> bool:
    """Whether there is nothing to draw yet."""
    return bool(to_do(results).all())


def note(results: xr.Dataset) -> str:
    """What a reader must know: whether points are still to be computed."""
    missing = to_do(results)
    return f"partial: {missing.size - missing.sum()} of {missing.size} points" if missing.any() else ""


def _rows_of_y(values: xr.DataArray) -> NDArray[np.generic]:
    # By name: whatever order the file has, x stays horizontal.
    return values.transpose(..., "x").values
