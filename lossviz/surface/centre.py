"""The points of a grid around its centre, the checkpoint itself."""

import numpy as np
import xarray as xr

from lossviz.results import DONE, SurfaceResults, difference_stderr


def lower_than_centre(results: xr.Dataset, centre: xr.Dataset, beside: xr.DataArray) -> xr.DataArray:
    """The losses beside the centre that are lower; of a sampled scan, by two standard errors of the difference."""
    rise = beside - float(centre.loss)
    if "loss_deviation" in results:
        rise = rise + 2 * difference_stderr(results, centre.drop_vars(("x", "y"), errors="ignore"))
    return beside.where(rise < 0)


def beside_centre(results: xr.Dataset) -> xr.DataArray | None:
    """The losses of the centre and of the points around it on the grid; NaN where none is known."""
    if not SurfaceResults(results).holds_centre:
        return None
    around = {}
    for axis in ("x", "y"):
        if axis in results.dims:
            middle = int(np.flatnonzero(results[axis].values == 0)[0])
            around[axis] = slice(max(0, middle - 1), middle + 2)
    near = results.isel(around)
    losses = near.loss.where(near.status == DONE)
    return losses if bool(losses.notnull().any()) else None
