"""The points of a plane as cells: computed ones in their colours, and marks for those that have none."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize

from lossviz.plot.axes import Floats
from lossviz.plot.scan import lattice, layers, not_finite, to_do, values
from lossviz.plot.style import NOT_DONE, NOT_FINITE

HATCH = "//////"
HATCH_COLOUR = "#999999"


def draw_cells(ax: Axes, results: xr.Dataset, quantity: str, colours: str | Colormap, norm: Normalize) -> None:
    """Draw every computed point of a plane as one cell of its colour.

    Cells of a lattice that is known throughout are as large as to leave no gap; finer points lie on them.
    """
    draw_to_do(ax, results)
    for part in layers(results):
        cells, x, y = np.ma.masked_invalid(values(part, quantity)), part.x.values, part.y.values
        ax.pcolormesh(x, y, cells, cmap=colours, norm=norm, shading="nearest", label=quantity, rasterized=True)
        draw_not_finite(ax, part)
    ax.set(xlim=_reach(results.x.values), ylim=_reach(results.y.values))


def draw_to_do(ax: Axes, results: xr.Dataset) -> None:
    """Mark the cells that are still to be computed."""
    missing = np.ma.masked_where(~to_do(results), to_do(results))
    if missing.count():
        # Only pcolor, which makes single polygons, can hatch.
        style: dict[str, Any] = {"cmap": ListedColormap([NOT_DONE]), "edgecolor": HATCH_COLOUR, "linewidth": 0}
        x, y = results.x.values, results.y.values
        ax.pcolor(x, y, missing, **style, shading="nearest", hatch=HATCH, zorder=0, label="not computed yet")


def draw_not_finite(ax: Axes, results: xr.Dataset) -> None:
    """Mark the cells that were computed and are not finite, below lines."""
    bad = np.ma.masked_where(~not_finite(results), not_finite(results))
    if bad.count():
        # Pixels, here and wherever cells touch: PDF viewers show seams between polygons.
        style: dict[str, Any] = {"cmap": ListedColormap([NOT_FINITE]), "shading": "nearest", "rasterized": True}
        ax.pcolormesh(results.x.values, results.y.values, bad, **style, zorder=1.1, label="not finite")


def shows_to_do(results: xr.Dataset) -> bool:
    """Whether points still to be computed lie beyond the cells of the lattice that is drawn in their place."""
    inner = lattice(results)
    if inner is results:
        return bool(to_do(results).any())
    (left, right), (low, high) = _reach(inner.x.values), _reach(inner.y.values)
    x, y = results.x.values, results.y.values
    beyond = ~np.outer((low <= y) & (y <= high), (left <= x) & (x <= right))
    return bool((to_do(results) & beyond).any())


def _reach(axis: Floats) -> tuple[float, float]:
    """Where the cells of the first and the last point end."""
    return float(1.5 * axis[0] - 0.5 * axis[1]), float(1.5 * axis[-1] - 0.5 * axis[-2])
