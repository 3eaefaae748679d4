"""Panels with two vertical axes, each in the colour of its curves: loss on the left, another quantity on the right."""

from typing import Any

from matplotlib.axes import Axes

from lossviz.plot.style import COLOURS, MARKERS, Look

LEFT = Look(COLOURS[0], "-", MARKERS[0])
RIGHT = Look(COLOURS[1], "-", MARKERS[0])


def twin(ax: Axes, columns: int, place: int, last: int, labels: tuple[str, str]) -> Axes:
    """A second vertical axis of a panel; only the outer panels of a row, which share their scales, are numbered.

    Args:
        ax: the panel.
        columns: panels of a full row.
        place: of this panel, row by row.
        last: place of the last panel.
        labels: of the left and of the right axis.
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
