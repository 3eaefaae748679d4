"""The figure of a plane through a trained network as contour lines."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from lossviz.plot.panels import colour_bar, draw_unknown, mark_checkpoint, square_panels, surface_key
from lossviz.plot.scale import Scale, common_scale
from lossviz.plot.scan import losses
from lossviz.plot.series import Series
from lossviz.plot.style import COLOUR_MAP, TINY

# The fill is paler than the map, so that black labels can be read on its dark end.
PALE = 0.75


def contour(series: Sequence[Series], *, log: bool | None = None, clip: tuple[float, float] | None = None) -> Figure:
    """Draw contour lines of all runs at the same levels, with the same colours between them.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        log: whether levels are logarithmic; None: when the losses span more than a factor 20.
        clip: losses beyond are drawn at these limits.
    """
    scale = common_scale([losses(each.results) for each in series], log, clip)
    colours = _colours(scale)
    drawn, axes = square_panels(series)
    lines = []
    for ax, each in zip(axes, series, strict=True):
        draw_unknown(ax, each.results)
        lines.append(_draw_levels(ax, each.results, scale, colours))
        mark_checkpoint(ax, each.results)
        x, y = each.results.x.values, each.results.y.values
        ax.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    colour_bar(drawn, ScalarMappable(BoundaryNorm(scale.bounds, colours.N), colours), scale, axes)
    surface_key(drawn, series)
    # Only in their final places can the labels be kept apart.
    drawn.draw_without_rendering()
    for ax, contours in zip(axes, lines, strict=True):
        if contours is not None:
            _label_levels(ax, contours)
    return drawn


def _colours(scale: Scale) -> ListedColormap:
    """One colour between two levels, that of the middle."""
    bounds = scale.bounds
    middle = np.sqrt(bounds[:-1] * bounds[1:]) if scale.log else (bounds[:-1] + bounds[1:]) / 2
    full = colormaps[COLOUR_MAP](np.asarray(scale.norm(middle)))[:, :3]
    return ListedColormap(1 - PALE * (1 - full))


def _draw_levels(ax: Axes, results: xr.Dataset, scale: Scale, colours: ListedColormap) -> QuadContourSet | None:
    grid = np.ma.masked_invalid(scale.clipped(losses(results)))
    x, y, levels = results.x.values, results.y.values, scale.levels
    if not grid.count():
        return None
    norm = BoundaryNorm(scale.bounds, colours.N)
    if grid.count() < grid.size:
        # Contours end at the last point that is known; its cell goes on to where the unknown ones begin.
        ax.pcolormesh(x, y, grid, cmap=colours, norm=norm, shading="nearest", rasterized=True, zorder=0)
    ax.contourf(x, y, grid, levels=scale.bounds, cmap=colours, norm=norm)
    if not ((levels > grid.min()) & (levels < grid.max())).any():
        # Matplotlib would warn and draw nothing; a flat panel says so itself.
        text = f"no level between\n{grid.min():.3g} and {grid.max():.3g}"
        ax.text(0.5, 0.7, text, transform=ax.transAxes, ha="center", fontsize=TINY)
        return None
    return ax.contour(x, y, grid, levels=levels, colors="black", linewidths=0.4)


def _label_levels(ax: Axes, lines: QuadContourSet) -> None:
    """Label the lines where there is room: inside the panel, and neither on each other nor on the checkpoint."""
    ax.clabel(lines, fontsize=TINY, fmt="%g", inline=False, colors="black")
    panel = ax.get_window_extent()
    taken = [line.get_window_extent() for line in ax.lines]
    # From the outside in: near the minimum the lines crowd.
    for label in reversed(lines.labelTexts):
        label.set_path_effects([withStroke(linewidth=1.5, foreground="white")])
        box = label.get_window_extent()
        if box.count_overlaps(taken) or not panel.contains(*box.min) or not panel.contains(*box.max):
            label.remove()
        else:
            taken.append(box)
