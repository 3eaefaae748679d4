"""One panel for each run: their places, titles, ticks, colour bar and key."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, Literal

import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from lossviz.plot.kit.axes import Floats, key_below, number
from lossviz.plot.kit.cells import HATCH, HATCH_COLOUR, UNCERTAIN, shows_to_do
from lossviz.plot.kit.labels import circle
from lossviz.plot.kit.scale import Scale
from lossviz.plot.kit.style import COLUMN_WIDTH, NOT_DONE, NOT_FINITE, SMALL, TEXT_WIDTH
from lossviz.plot.series import Series

PER_ROW = 4


def square_panels(series: Sequence[Series], quantity: str = "loss") -> tuple[Figure, list[Axes]]:
    """A figure with a square panel for each run, at most four in a row, titled with a quantity at the centre."""
    rows, columns = rows_and_columns(len(series), PER_ROW)
    width = COLUMN_WIDTH if columns == 1 else TEXT_WIDTH
    side = (width - 1.15) / columns
    row = side + title_height(series, quantity) + 0.1
    drawn = Figure(figsize=(width, rows * row + 0.45), layout="compressed")
    axes = add_panels(drawn, len(series), columns)
    for ax, each in zip(axes, series, strict=True):
        ax.set_title(title(each, quantity), fontsize=SMALL)
    finish_square_panels(axes, series, columns)
    return drawn, axes


def finish_square_panels(axes: Sequence[Axes], series: Sequence[Series], columns: int) -> None:
    """Make panels square, and number and name only the outer axes where all have the same range."""
    alike = len({_extent(each.results) for each in series}) == 1
    for place, (ax, each) in enumerate(zip(axes, series, strict=True)):
        bottom, left = place + columns >= len(series), place % columns == 0
        ax.set_box_aspect(1)
        ax.xaxis.set_major_locator(axis_ticks())
        ax.yaxis.set_major_locator(axis_ticks())
        ax.tick_params(labelbottom=bottom or not alike, labelleft=left or not alike)
        # What was measured of an axis differs between runs that share its name and range.
        ax.set(
            xlabel=axis_name(each.results, "x", named=bottom),
            ylabel=axis_name(each.results, "y", named=left),
        )


def rows_and_columns(panels: int, most: int) -> tuple[int, int]:
    """The fewest rows with at most `most` columns, and no more columns than these rows need."""
    rows = -(-panels // most)
    return rows, -(-panels // rows)


def add_panels(drawn: Figure, count: int, columns: int) -> list[Axes]:
    """Panels, row by row."""
    grid = drawn.add_gridspec(-(-count // columns), columns)
    return [drawn.add_subplot(grid[divmod(place, columns)]) for place in range(count)]


def axis_ticks() -> MaxNLocator:
    """Few round numbers, for a narrow panel."""
    return MaxNLocator(4, steps=[1, 2, 5, 10])


def axis_name(results: xr.Dataset, axis: Literal["x", "y"], named: bool = True) -> str:
    """A direction in the words of the result file, with what was measured of it.

    Args:
        results: the contents of a surface-<name>.nc.
        axis: which of its directions.
        named: whether the name is wanted beside the measurements.
    """
    lines = [str(results[axis].attrs.get("long_name", axis))] if named else []
    if f"{axis}_explained_variance" in results.attrs:
        lines.append(f"{results.attrs[f'{axis}_explained_variance']:.1%} of the variance")
    if f"{axis}_eigenvalue" in results.attrs:
        lines.append(f"eigenvalue {results.attrs[f'{axis}_eigenvalue']:.4g}")
    return "\n".join(lines)


def title(each: Series, quantity: str = "loss") -> str:
    """The run, a quantity at the checkpoint where the grid holds that, what is not usual of the protocol, the note."""
    # A panel is narrow: two lines for "experiment/variant", and more for long names.
    lines = [line for name in each.label.replace("/", "/\n").splitlines() for line in wrap(name, 26)]
    centre = each.surface.centre
    if centre is not None:
        lines.append(f"{quantity} {number(float(centre[quantity]), 3)} at the centre")
    lines += protocol(each.results)
    return "\n".join([*lines, each.note] if each.note else lines)


def title_height(series: Sequence[Series], quantity: str = "loss") -> float:
    """Inches of the highest title of a row."""
    return 0.13 * (max(title(each, quantity).count("\n") for each in series) + 1)


def protocol(results: xr.Dataset) -> list[str]:
    """The split and the mode of BatchNorm, where they are not the usual ones."""
    said = ["test set"] if results.attrs.get("split") == "test" else []
    mode = results.attrs.get("batch_norm", "frozen")
    return said if mode == "frozen" else [*said, f"BatchNorm: {mode}"]


def colour_bar(
    drawn: Figure, mappable: ScalarMappable, scale: Scale, place: Axes | list[Axes], ticks: Floats | None = None
) -> Colorbar:
    """The colour bar, in an axes of its own or beside the panels; arrows where values go on beyond the range.

    Args:
        drawn: the figure.
        mappable: colours and their norm.
        scale: what is drawn.
        place: an empty axes, or the panels that lose a part of their place.
        ticks: the scale's levels unless given.
    """
    where: dict[str, Any] = {"ax": place, "pad": 0.02, "fraction": 0.05, "aspect": 25}
    if isinstance(place, Axes):
        where = {"cax": place}
    shown = scale.levels if ticks is None else ticks
    bar = drawn.colorbar(mappable, **where, extend=scale.extend, ticks=list(shown), label=scale.label)
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    bar.outline.set_linewidth(0.5)
    return bar


def surface_key(drawn: Figure, series: Sequence[Series], further: Mapping[str, Artist] | None = None) -> None:
    """The key of the marks, if there are any, and further entries."""
    key: dict[str, Artist] = {"checkpoint": Line2D([], [], color="black", marker="+", linestyle="none", markersize=5)}
    if any(line.get_label() == "other checkpoint" for ax in drawn.axes for line in ax.lines):
        key["other checkpoint"] = Line2D([], [], **circle("white"), linestyle="none")
    key_below(drawn, {**key, **unknown_key(drawn, series), **(further or {})})


def unknown_key(drawn: Figure, series: Sequence[Series]) -> dict[str, Artist]:
    """The key of the marks for contours that are not sure and cells without a finite loss, if there are any."""
    key: dict[str, Artist] = {}
    if any(lines.get_label() == "uncertain" for ax in drawn.axes for lines in ax.collections):
        key["uncertain contour"] = Line2D([], [], **UNCERTAIN)
    if any(each.surface.not_finite.any() for each in series):
        key["not finite"] = Patch(facecolor=NOT_FINITE)
    if any(shows_to_do(each.results) for each in series):
        key["not computed yet"] = Patch(facecolor=NOT_DONE, edgecolor=HATCH_COLOUR, hatch=HATCH, linewidth=0)
    return key


def _extent(results: xr.Dataset) -> tuple[float, ...]:
    return tuple(float(edge) for axis in (results.x, results.y) for edge in (axis.min(), axis.max()))
