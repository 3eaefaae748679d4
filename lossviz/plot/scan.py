"""What the file of a surface says: its losses, and which points are still to be computed or not finite."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lossviz.plot.axes import Floats

TO_DO, DONE, NOT_FINITE = 0, 1, 2
Places = NDArray[np.intp]


def losses(results: xr.Dataset) -> Floats:
    """The losses: of a plane (y, x), of a line (x,)."""
    return values(results, "loss")


def values(results: xr.Dataset, quantity: str) -> Floats:
    """A variable at all points: of a plane (y, x), of a line (x,)."""
    return _rows_of_y(results[quantity]).astype(float)


def to_do(results: xr.Dataset) -> NDArray[np.bool_]:
    """Which points are still to be computed."""
    return np.asarray(_rows_of_y(results.status) == TO_DO)


def not_finite(results: xr.Dataset) -> NDArray[np.bool_]:
    """Which points were computed and are NaN or infinite."""
    return np.asarray(_rows_of_y(results.status) == NOT_FINITE)


def is_empty(results: xr.Dataset) -> bool:
    """Whether there is nothing to draw yet."""
    return bool(to_do(results).all())


def note(results: xr.Dataset) -> str:
    """What a reader must know: whether points are still to be computed."""
    missing = to_do(results)
    return f"partial: {missing.size - missing.sum():,} of {missing.size:,} points" if missing.any() else ""


def protocol(results: xr.Dataset) -> list[str]:
    """The split and the mode of BatchNorm, where they are not the usual ones."""
    said = ["test set"] if results.attrs.get("split") == "test" else []
    mode = results.attrs.get("batch_norm", "frozen")
    return said if mode == "frozen" else [*said, f"BatchNorm: {mode}"]


def at_centre(results: xr.Dataset, quantity: str) -> float | None:
    """A quantity at the scan's own checkpoint, where the grid holds that and it is known."""
    axes = [name for name in ("x", "y") if name in results.dims]
    if not all(0 in results[name].values for name in axes):
        return None
    centre = results.sel({name: [0] for name in axes})
    return None if to_do(centre).any() else float(values(centre, quantity).item())


def lattice(results: xr.Dataset) -> xr.Dataset:
    """A plane without its unknown points: the rows and columns of its finest lattice that is known throughout.

    A plane of which too little is known for a lattice is returned as it is.
    """
    known = ~to_do(results)
    if known.all():
        return results
    rows, columns = finest_lattice(known)
    return results.isel(y=rows, x=columns) if min(len(rows), len(columns)) > 1 else results


def layers(results: xr.Dataset) -> list[xr.Dataset]:
    """What is drawn of a plane, from the bottom up: of a partial one its lattice first, then all points."""
    coarse = lattice(results)
    return [results] if coarse is results else [coarse, results]


def finest_lattice(known: NDArray[np.bool_]) -> tuple[Places, Places]:
    """The rows and columns, all of whose crossings are known, that leave the smallest gaps in the whole range.

    Of equal gaps, those with more points. The search starts from every s-th row, for s = 1, 2, 4, ... and every
    offset, with the first and last row where something is known; a scan fills such lattices one after another.

    Args:
        known: (rows, columns), of which some are known.
    """
    begun = np.flatnonzero(known.any(axis=1))
    ends, every = begun[[0, -1]], np.arange(begun[0], begun[-1] + 1)
    strides = 2 ** np.arange(len(every).bit_length())
    combs = [every[offset::stride] for stride in strides for offset in range(stride)]
    best = (begun[:0], begun[:0])
    for comb in (begun, *combs, *(np.union1d(comb, ends) for comb in combs)):
        columns = np.flatnonzero(known[comb].all(axis=0))
        # Whatever other rows are known in these columns makes it finer.
        rows = np.flatnonzero(known[:, columns].all(axis=1))
        best = min(best, (rows, columns), key=lambda pair: _coarseness(pair, known.shape))
    return best


def _coarseness(pair: tuple[Places, Places], shape: tuple[int, ...]) -> tuple[float, int]:
    """The widest gap as a share of the range, and minus the number of points."""
    gaps = [
        np.diff(np.r_[0, places, count - 1]).max() / max(1, count - 1) if len(places) else 1.0
        for places, count in zip(pair, shape, strict=True)
    ]
    return max(gaps), -len(pair[0]) * len(pair[1])


def _rows_of_y(values: xr.DataArray) -> NDArray[np.generic]:
    # By name: whatever order the file has, x stays horizontal.
    return values.transpose(..., "x").values
