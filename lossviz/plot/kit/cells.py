"""A plane from above: the lattices of a partial scan, contours, and cells in colours, or marked where there is none."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.contour import QuadContourSet
from numpy.typing import NDArray

from lossviz.plot.kit.axes import Floats, number
from lossviz.plot.kit.scale import Scale
from lossviz.plot.kit.style import COLOUR_MAP, NOT_DONE, NOT_FINITE, TINY
from lossviz.results import SurfaceResults

Places = NDArray[np.intp]
HATCH = "//////"
HATCH_COLOUR = "#999999"
# The fill is paler than the map, so that black labels can be read on its dark end.
PALE = 0.75
# Of contour lines that may lie elsewhere.
UNCERTAIN: dict[str, Any] = {"color": "0.4", "linestyle": (0, (4, 4)), "linewidth": 0.4}


def lattice(results: xr.Dataset) -> xr.Dataset:
    """A plane without its unknown points: the rows and columns of its finest lattice that is known throughout.

    A plane of which too little is known for a lattice is returned as it is.
    """
    known = ~SurfaceResults(results).to_do
    if known.all():
        return results
    rows, columns = finest_lattice(known)
    return results.isel(y=rows, x=columns) if min(len(rows), len(columns)) > 1 else results


def layers(results: xr.Dataset) -> list[xr.Dataset]:
    """The layers of a plane from the bottom up: for a partial plane its lattice first, then all points."""
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


def draw_cells(ax: Axes, results: xr.Dataset, quantity: str, colours: str | Colormap, norm: Normalize) -> None:
    """Draw every computed point of a plane as one cell of its colour.

    Cells of a lattice that is known throughout are as large as to leave no gap; finer points lie on them.
    """
    draw_to_do(ax, results)
    for part in layers(results):
        cells, x, y = np.ma.masked_invalid(SurfaceResults(part).values(quantity)), part.x.values, part.y.values
        ax.pcolormesh(x, y, cells, cmap=colours, norm=norm, shading="nearest", label=quantity, rasterized=True)
        draw_not_finite(ax, part)
    ax.set(xlim=_reach(results.x.values), ylim=_reach(results.y.values))


def pale_colours(scale: Scale) -> tuple[BoundaryNorm, ListedColormap]:
    """The fill of contours: one colour between two levels, that of the middle."""
    bounds = scale.bounds
    middle = np.sqrt(bounds[:-1] * bounds[1:]) if scale.log else (bounds[:-1] + bounds[1:]) / 2
    full = colormaps[COLOUR_MAP](np.asarray(scale.norm(middle)))[:, :3]
    colours = ListedColormap(1 - PALE * (1 - full))
    return BoundaryNorm(bounds, colours.N), colours


def draw_levels(ax: Axes, results: xr.Dataset, scale: Scale) -> QuadContourSet | None:
    """Fill between the levels and draw them as lines, which are returned; of a partial scan, its finest lattice."""
    draw_to_do(ax, results)
    known = lattice(results)
    grid = np.ma.masked_invalid(scale.clipped(SurfaceResults(known).values("loss")))
    x, y, levels = known.x.values, known.y.values, scale.levels
    ax.set(xlim=results.x.values[[0, -1]], ylim=results.y.values[[0, -1]])
    for part in layers(results):
        draw_not_finite(ax, part)
    if not grid.count():
        return None
    norm, colours = pale_colours(scale)
    if grid.count() < results.loss.size:
        # Contours end at the last point that is known; its cell goes on to where the unknown ones begin.
        ax.pcolormesh(x, y, grid, cmap=colours, norm=norm, shading="nearest", rasterized=True, zorder=0)
    ax.contourf(x, y, grid, levels=scale.bounds, cmap=colours, norm=norm)
    if not ((levels > grid.min()) & (levels < grid.max())).any():
        # Matplotlib would warn and draw nothing; a flat panel says so itself.
        text = f"no level between\n{number(float(grid.min()), 3)} and {number(float(grid.max()), 3)}"
        ax.text(0.5, 0.7, text, transform=ax.transAxes, ha="center", fontsize=TINY)
        return None
    lines: dict[str, Any] = {"levels": levels, "linewidths": UNCERTAIN["linewidth"]}
    sure = np.ma.masked_where(uncertain(known), grid)
    if sure.count() < grid.count():
        pale = ax.contour(x, y, grid, colors=UNCERTAIN["color"], linestyles=[UNCERTAIN["linestyle"]], **lines)
        pale.set_label("uncertain")
        if not sure.count() or not ((levels > sure.min()) & (levels < sure.max())).any():
            return pale
    return ax.contour(x, y, sure, colors="black", **lines)


def uncertain(results: xr.Dataset) -> NDArray[np.bool_]:
    """Where contour lines of a sampled loss may lie elsewhere."""
    loss = SurfaceResults(results).values("loss")
    if "loss_deviation" not in results or min(loss.shape) < 2:
        return np.zeros(loss.shape, bool)
    return moves_contours(SurfaceResults(results).values("loss_stderr"), loss)


def moves_contours(stderr: Floats, values: Floats) -> NDArray[np.bool_]:
    """Where two standard errors move a contour line by more than half the way to the next point; so beside a hole."""
    slope = np.hypot(*np.gradient(np.where(np.isfinite(values), values, np.nan)))
    return np.asarray((stderr > 0) & ~(4 * stderr <= slope))


def draw_to_do(ax: Axes, results: xr.Dataset) -> None:
    """Mark the cells that are still to be computed."""
    missing = np.ma.masked_where(~SurfaceResults(results).to_do, SurfaceResults(results).to_do)
    if missing.count():
        # Only pcolor, which makes single polygons, can hatch.
        style: dict[str, Any] = {"cmap": ListedColormap([NOT_DONE]), "edgecolor": HATCH_COLOUR, "linewidth": 0}
        x, y = results.x.values, results.y.values
        ax.pcolor(x, y, missing, **style, shading="nearest", hatch=HATCH, zorder=0, label="not computed yet")


def draw_not_finite(ax: Axes, results: xr.Dataset) -> None:
    """Mark the cells that were computed and are not finite, below lines."""
    bad = np.ma.masked_where(~SurfaceResults(results).not_finite, SurfaceResults(results).not_finite)
    if bad.count():
        # Pixels, here and wherever cells touch: PDF viewers show seams between polygons.
        style: dict[str, Any] = {"cmap": ListedColormap([NOT_FINITE]), "shading": "nearest", "rasterized": True}
        ax.pcolormesh(results.x.values, results.y.values, bad, **style, zorder=1.1, label="not finite")


def shows_to_do(results: xr.Dataset) -> bool:
    """Whether points still to be computed lie beyond the cells of the lattice that is drawn in their place."""
    inner = lattice(results)
    if inner is results:
        return bool(SurfaceResults(results).to_do.any())
    (left, right), (low, high) = _reach(inner.x.values), _reach(inner.y.values)
    x, y = results.x.values, results.y.values
    beyond = ~np.outer((low <= y) & (y <= high), (left <= x) & (x <= right))
    return bool((SurfaceResults(results).to_do & beyond).any())


def _reach(axis: Floats) -> tuple[float, float]:
    """The outer edges of the cells of the first and the last point."""
    return float(1.5 * axis[0] - 0.5 * axis[1]), float(1.5 * axis[-1] - 0.5 * axis[-2])
