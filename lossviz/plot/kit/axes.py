"""Tools for axes: limits, units, a second axis, legends, marks for values that are not finite."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from textwrap import wrap
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from lossviz.plot.kit.style import COLOURS, KEY, MARKERS, SMALL, Look
from lossviz.plot.series import Series

Floats = NDArray[np.floating]

# Greatest finite value over the smallest, above which a linear axis would hide the small ones.
STEEP = 20.0
# Characters of small text in an inch.
_CHARACTERS = 18
_NOT_FINITE = "not finite"
# The looks of the two vertical axes of a panel.
LEFT = Look(COLOURS[0], "-", MARKERS[0])
RIGHT = Look(COLOURS[1], "-", MARKERS[0])


def finite(values: Sequence[Floats]) -> Floats:
    """All finite values in one array."""
    joined = np.concatenate([np.asarray(each, dtype=float).ravel() for each in values] or [np.empty(0)])
    return np.asarray(joined[np.isfinite(joined)])


def is_steep(values: Floats) -> bool:
    """Whether finite values call for a logarithmic axis."""
    return bool(values.size and values.min() > 0 and values.max() > STEEP * values.min())


def number(value: float, digits: int = 6) -> str:
    """A number rounded to some digits, as short as possible: 0.5, 1230, 1e6, with the minus sign of the axes."""
    mantissa, _, power = f"{float(f'{value:.{digits}g}'):g}".partition("e")
    return (f"{mantissa}e{int(power)}" if power else mantissa).replace("-", "−")


def scale_axis(ax: Axes, values: Floats, log: bool) -> None:
    """Fix the vertical axis to hold finite values with a margin, so that an infinite one runs to its edge.

    Args:
        ax: the axes.
        values: finite values.
        log: logarithmic where the values allow it; a zero then lies on the lower edge.
    """
    positive = values[values > 0]
    log = log and positive.size > 0 and values.min() >= 0
    if log:
        ax.set_yscale("log")
        low, high = np.log10(positive.min()), np.log10(positive.max())
        if high - low < 2:  # decades alone would leave the axis without ticks
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1 * (1.0 if log else abs(high) or 1.0)
    low, high = low - margin, high + margin
    ax.set_ylim(*((10**low, 10**high) if log else (low, high)))


def step_axis(axes: Sequence[Axes], steps: Sequence[NDArray[Any]], ticks: int = 5) -> None:
    """Fix the horizontal axes to hold all steps, with about `ticks` whole numbers along them."""
    every = np.unique(np.concatenate(steps))
    margin = 0.02 * (every[-1] - every[0]) or 1
    for ax in axes:
        round_numbers = MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10])
        ax.xaxis.set_major_locator(round_numbers if len(every) > 1 else FixedLocator([every[0]]))
        ax.set_xlim(every[0] - margin, every[-1] + margin)


def with_unit(values: Iterable[xr.DataArray], name: str = "loss") -> str:
    """The label of an axis: its name, and the unit that all values have, if not 1; files say nat, figures nats."""
    units = {str(each.attrs.get("units", "1")) for each in values}
    unit = units.pop() if len(units) == 1 else "1"
    return name if unit == "1" else f"{name} ({'nats' if unit == 'nat' else unit})"


def twin(ax: Axes, columns: int, place: int, last: int, labels: tuple[str, str]) -> Axes:
    """A second vertical axis of a panel; only the outer panels of a row, which share their scales, are numbered.

    Args:
        ax: the panel.
        columns: panels of a full row.
        place: of this panel, row by row.
        last: place of the last panel.
        labels: the left axis, the right axis.
    """
    right = ax.twinx()
    # The left axis lies above the right one, its marks and texts above all curves.
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)
    at_end = (place + 1) % columns == 0
    outer = (place % columns == 0, at_end or place == last)
    for axes, look, label, numbered in zip((ax, right), (LEFT, RIGHT), labels, outer, strict=True):
        side = "left" if axes is ax else "right"
        style: dict[str, Any] = {f"label{side}": numbered, "color": look.colour, "labelcolor": look.colour}
        axes.tick_params(axis="y", which="both", **style)
        # A label within a row would hold the columns apart.
        axes.set_ylabel(label if numbered and (axes is ax or at_end) else "", color=look.colour)
    return right


def mark_not_finite(ax: Axes, x: NDArray[Any], look: Look) -> None:
    """Mark values that an axis cannot show, on its upper edge; each further run above the one before."""
    if len(x):
        others = {line.get_color() for line in _marks(ax)} - {look.colour}
        height = np.full(len(x), 1 + 0.04 * len(others))
        ax.plot(x, height, **_mark(look.colour), transform=ax.get_xaxis_transform(), label=_NOT_FINITE)


def mark_divergence(ax: Axes, each: Series, x: NDArray[Any], values: Floats) -> None:
    """Mark the last finite value of a run whose training diverged."""
    last = np.flatnonzero(np.isfinite(values))[-1:]
    if "diverged_at" in each.results.attrs and len(last):
        style: dict[str, Any] = {"marker": "X", "markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.5}
        ax.plot(x[last], values[last], **style, color=each.look.colour, zorder=5, label="diverged")


def mark_beside(ax: Axes, y: float, look: Look) -> None:
    """Mark a height at which not all values are finite, on the right edge."""
    ax.plot([1], [y], **_mark(look.colour), transform=ax.get_yaxis_transform(), label=_NOT_FINITE)


def mark_rows(figure: Figure) -> int:
    """How many rows of marks the panels have above them, at most."""
    return max((len({line.get_color() for line in _marks(ax)}) for ax in figure.axes), default=0)


def _mark(colour: str) -> dict[str, Any]:
    style: dict[str, Any] = {"marker": "x", "markersize": 3, "markeredgewidth": 0.7, "linestyle": "none"}
    return {**style, "color": colour, "clip_on": False, "zorder": 5}


def _not_finite_key(figure: Figure) -> dict[str, Artist]:
    if not any(_marks(ax) for ax in figure.axes):
        return {}
    return {_NOT_FINITE: Line2D([], [], linestyle="none", marker="x", markersize=3, markeredgewidth=0.7, color=KEY)}


def _marks(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if line.get_label() == _NOT_FINITE]


def legend_above(figure: Figure, series: Sequence[Series], handles: Sequence[Artist] | None = None) -> None:
    """One legend for the variants of the whole figure; each is a curve unless handles are given."""
    curves = [Line2D([], [], color=each.look.colour, linestyle=each.look.line) for each in series]
    _legend(figure, handles or curves, [each.legend for each in series], "outside upper center")


def key_below(figure: Figure, entries: dict[str, Artist], notes: Sequence[str] = ()) -> None:
    """The key of lines and patches, for all variants, below the notes for the reader; with the mark for not finite."""
    entries = entries | _not_finite_key(figure)
    lines = [line for note in notes for line in wrap(note, int(_CHARACTERS * figure.get_figwidth()))]
    if entries or lines:
        _legend(figure, list(entries.values()), list(entries), "outside lower center", lines)


def _legend(
    figure: Figure,
    handles: Sequence[Artist],
    labels: Sequence[str],
    where: Literal["outside upper center", "outside lower center"],
    title: Sequence[str] = (),
) -> None:
    style: dict[str, Any] = {"loc": where, "borderaxespad": 0.2, "title_fontsize": SMALL}
    make = partial(figure.legend, list(handles), list(labels), title="\n".join(title) or None, **style)
    _, columns = widest_legend(make, len(labels), figure.bbox.width)
    # The panels keep their size, whatever the number of runs.
    further = -(-len(labels) // columns) - 1 + len(title)
    figure.set_figheight(figure.get_figheight() + further * 1.5 * SMALL / 72)


def widest_legend(make: Callable[..., Legend], entries: int, room: float) -> tuple[Legend, int]:
    """The legend with the most columns that fit into some pixels, one at least; and their number.

    Args:
        make: the legend with `ncols` columns.
        entries: how many there are.
        room: pixels.
    """
    columns = max(1, entries)
    legend = make(ncols=columns)
    while columns > 1 and legend.get_window_extent().width > room:
        legend.remove()
        columns -= 1
        legend = make(ncols=columns)
    return legend, columns


def panel_titles(figure: Figure, *titles: str) -> None:
    """Letters and titles of all panels, above the marks of what is not finite."""
    rows = mark_rows(figure)
    for ax, letter, title in zip(figure.axes, "abcdef", titles, strict=False):
        ax.set_title(f"({letter}) {title}", loc="left", pad=4 + 4 * rows)
