"""One panel for each run: their places, titles, ticks, colour bar and key."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from lossviz.plot.axes import key_below
from lossviz.plot.scale import Scale
from lossviz.plot.scan import losses, not_finite, to_do
from lossviz.plot.series import Series
from lossviz.plot.style import COLUMN_WIDTH, NOT_DONE, NOT_FINITE, SMALL, TEXT_WIDTH

PER_ROW = 4
HATCH = "//////"
HATCH_COLOUR = "#999999"


def square_panels(series: Sequence[Series]) -> tuple[Figure, list[Axes]]:
    """A figure with a square panel for each run, at most four in a row."""
    columns = min(PER_ROW, len(series))
    rows = -(-len(series) // columns)
    width = COLUMN_WIDTH if columns == 1 else TEXT_WIDTH
    side = (width - 1.15) / columns
    lines = max(title(each).count("\n") for each in series) + 1
    drawn = Figure(figsize=(width, rows * (side + lines * 0.13 + 0.1) + 0.45), layout="compressed")
    grid = drawn.add_gridspec(rows, columns)
    axes = [drawn.add_subplot(grid[divmod(place, columns)]) for place in range(len(series))]
    alike = len({_extent(each.results) for each in series}) == 1
    for place, (ax, each) in enumerate(zip(axes, series, strict=True)):
        bottom, left = place + columns >= len(series), place % columns == 0
        ax.set_box_aspect(1)
        ax.set_title(title(each), fontsize=SMALL)
        ax.xaxis.set_major_locator(axis_ticks())
        ax.yaxis.set_major_locator(axis_ticks())
        ax.tick_params(labelbottom=bottom or not alike, labelleft=left or not alike)
        ax.set(xlabel=axis_name(each.results.x) if bottom else "", ylabel=axis_name(each.results.y) if left else "")
    return drawn, axes


def axis_ticks() -> MaxNLocator:
    """Few round numbers, for a narrow panel."""
    return MaxNLocator(4, steps=[1, 2, 5, 10])


def axis_name(axis: xr.DataArray) -> str:
    """A direction in the words of the result file."""
    return str(axis.attrs.get("long_name", axis.name))


def title(each: Series) -> str:
    """The run, its loss at the checkpoint where the grid holds that, and what else a reader must know."""
    # A panel is narrow: two lines for "experiment/variant", and more for long names.
    lines = [line for name in each.label.replace("/", "/\n").splitlines() for line in wrap(name, 26)]
    results = each.results
    if 0 in results.x.values and 0 in results.y.values:
        centre = results.sel(x=[0], y=[0])
        if not to_do(centre).any():
            lines.append(f"loss {losses(centre).item():.3g} at the centre")
    return "\n".join([*lines, each.note] if each.note else lines)


def draw_unknown(ax: Axes, results: xr.Dataset) -> None:
    """Mark the cells that have no finite loss: those still to be computed, and those that are not finite."""
    x, y = results.x.values, results.y.values
    missing, bad = (np.ma.masked_where(~where, where) for where in (to_do(results), not_finite(results)))
    if missing.count():
        # Only pcolor, which makes single polygons, can hatch.
        style: dict[str, Any] = {"cmap": ListedColormap([NOT_DONE]), "edgecolor": HATCH_COLOUR, "linewidth": 0}
        ax.pcolor(x, y, missing, **style, shading="nearest", hatch=HATCH, zorder=0, label="not computed yet")
    if bad.count():
        # Pixels, here and wherever cells touch: PDF viewers show seams between polygons.
        colour = ListedColormap([NOT_FINITE])
        ax.pcolormesh(x, y, bad, cmap=colour, shading="nearest", rasterized=True, zorder=0, label="not finite")


def mark_checkpoint(ax: Axes, results: xr.Dataset) -> None:
    """A small cross where the trained network is."""
    if all(axis.min() <= 0 <= axis.max() for axis in (results.x, results.y)):
        outline = [withStroke(linewidth=2, foreground="white")]
        ax.plot([0], [0], "+", color="black", markersize=5, markeredgewidth=0.8, path_effects=outline, zorder=6)


def colour_bar(drawn: Figure, mappable: ScalarMappable, scale: Scale, place: Axes | list[Axes]) -> Colorbar:
    """The colour bar, in an axes of its own or beside the panels; arrows where the loss goes on beyond the clip."""
    where: dict[str, Any] = {"ax": place, "pad": 0.02, "fraction": 0.05, "aspect": 25}
    if isinstance(place, Axes):
        where = {"cax": place}
    bar = drawn.colorbar(mappable, **where, extend=scale.extend, ticks=list(scale.levels), label=scale.label)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.outline.set_linewidth(0.5)
    return bar


def surface_key(drawn: Figure, series: Sequence[Series]) -> None:
    """What the marks mean, where there are any."""
    key: dict[str, Artist] = {"checkpoint": Line2D([], [], color="black", marker="+", linestyle="none", markersize=5)}
    if any(not_finite(each.results).any() for each in series):
        key["not finite"] = Patch(facecolor=NOT_FINITE)
    if any(to_do(each.results).any() for each in series):
        key["not computed yet"] = Patch(facecolor=NOT_DONE, edgecolor=HATCH_COLOUR, hatch=HATCH, linewidth=0)
    key_below(drawn, key)


def _extent(results: xr.Dataset) -> tuple[float, ...]:
    return tuple(float(edge) for axis in (results.x, results.y) for edge in (axis.min(), axis.max()))
