"""The figure of a plane through a trained network as contour lines over filled contours."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from lossviz.plot.figure import FigureKind, on_request
from lossviz.plot.kit.axes import number
from lossviz.plot.kit.cells import draw_not_finite, draw_to_do, lattice, layers
from lossviz.plot.kit.labels import keep_apart, mark_checkpoints
from lossviz.plot.kit.panels import colour_bar, square_panels, surface_key
from lossviz.plot.kit.scale import Scale, common_scale
from lossviz.plot.kit.style import COLOUR_MAP, TINY
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import SurfaceResults

# The fill is paler than the map, so that black labels can be read on its dark end.
PALE = 0.75


def draw_contour(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw contour lines of all runs at the same levels, with the same colours between them.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        options: log and clip.
    """
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    colours = pale_colours(scale)
    drawn, axes = square_panels(series)
    lines, names = [], []
    for ax, each in zip(axes, series, strict=True):
        lines.append(draw_levels(ax, each.results, scale, colours))
        names.append(mark_checkpoints(ax, each.results))
    colour_bar(drawn, ScalarMappable(BoundaryNorm(scale.bounds, colours.N), colours), scale, axes)
    surface_key(drawn, series)
    keep_apart(drawn, axes, names, lines)
    return drawn


def pale_colours(scale: Scale) -> ListedColormap:
    """One colour between two levels, that of the middle."""
    bounds = scale.bounds
    middle = np.sqrt(bounds[:-1] * bounds[1:]) if scale.log else (bounds[:-1] + bounds[1:]) / 2
    full = colormaps[COLOUR_MAP](np.asarray(scale.norm(middle)))[:, :3]
    return ListedColormap(1 - PALE * (1 - full))


def draw_levels(ax: Axes, results: xr.Dataset, scale: Scale, colours: ListedColormap) -> QuadContourSet | None:
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
    norm = BoundaryNorm(scale.bounds, colours.N)
    if grid.count() < results.loss.size:
        # Contours end at the last point that is known; its cell goes on to where the unknown ones begin.
        ax.pcolormesh(x, y, grid, cmap=colours, norm=norm, shading="nearest", rasterized=True, zorder=0)
    ax.contourf(x, y, grid, levels=scale.bounds, cmap=colours, norm=norm)
    if not ((levels > grid.min()) & (levels < grid.max())).any():
        # Matplotlib would warn and draw nothing; a flat panel says so itself.
        text = f"no level between\n{number(float(grid.min()), 3)} and {number(float(grid.max()), 3)}"
        ax.text(0.5, 0.7, text, transform=ax.transAxes, ha="center", fontsize=TINY)
        return None
    return ax.contour(x, y, grid, levels=levels, colors="black", linewidths=0.4)


FIGURE = FigureKind("contour", Planes(), draw_contour, by_default=on_request)
