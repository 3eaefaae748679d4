"""Planes of losses beside one another: how deep, how exact and how rugged they are."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.markdown import markdown
from lossviz.results import SurfaceResults, load_results
from lossviz.run import Run

Floats = NDArray[np.floating]


def surfaces(runs: Sequence[Run]) -> str:
    """Planes: the loss at the centre and farther out, how exact it is, and how rugged."""
    scans = {f"{run.variant}, {path.stem.removeprefix('surface-')}": path for run in runs for path in run.surface_files}
    planes = {name: results for name, path in scans.items() if (results := load_results(path)).loss.ndim == 2}
    # All are compared on points that all of them have.
    shared = shared_grid([results.loss.values for results in planes.values()])
    rows = [[name, *_of_plane(results, shared)] for name, results in planes.items()]
    head = ["plane", "points", "examples", "loss at the centre", "lowest to highest loss"]
    head += ["standard error below 2 %", f"local minima{'' if shared.step == 1 else f', every {shared.step}. point'}"]
    return markdown(head, rows)


def _of_plane(results: xr.Dataset, shared: slice) -> list[str]:
    loss = results.loss.values
    known = np.isfinite(loss)
    error = results.loss_stderr.values
    centre = SurfaceResults(results).centre
    small = error < 0.02 * loss
    return [
        f"{known.sum():,} of {loss.size:,}",
        f"{results.attrs['examples']:,}",
        f"{float(centre.loss):.3g}" if centre is not None else "–",
        f"{np.nanmin(loss):.3g} to {np.nanmax(loss):.3g}",
        f"{100 * small[known].mean():.1f} % of the points",
        str(local_minima(loss[shared, shared], error[shared, shared])),
    ]


def shared_grid(planes: Sequence[Floats]) -> slice:
    """The finest even grid, of rows and columns alike, of which all planes have all points."""
    steps = range(1, min((min(each.shape) for each in planes), default=1) + 1)
    grids = [slice(first, None, step) for step in steps for first in range(step)]
    alike = len({each.shape for each in planes}) == 1
    complete = (grid for grid in grids if alike and all(not np.isnan(each[grid, grid]).any() for each in planes))
    return next(complete, slice(0, None, 1))


def local_minima(values: Floats, margin: Floats | float = 0.0) -> int:
    """Points inside a grid that are lower than all eight neighbours; beside a point without a value there is none.

    Args:
        values: the heights.
        margin: by more than which they must be lower, such as the standard error of each point.
    """
    inside = (values + margin)[1:-1, 1:-1]
    rows, columns = values.shape
    lower = np.isfinite(inside)
    for i in range(3):
        for j in range(3):
            if (i, j) != (1, 1):
                lower &= inside < values[i : rows - 2 + i, j : columns - 2 + j]  # false beside NaN
    return int(lower.sum())
