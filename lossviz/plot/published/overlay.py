"""Published curves beside a run's own: dotted, in a greyer shade of its colour, and named in the key."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.kit.axes import Floats
from lossviz.plot.kit.style import KEY, Look
from lossviz.plot.published.curves import Published, sources
from lossviz.plot.series import Series

_LINE: dict[str, Any] = {"linestyle": (0, (1, 1)), "linewidth": 0.8}


def draw_published(ax: Axes, look: Look, curve: Published | None, width: float = 0.8) -> None:
    """Draw the published counterpart of what a run shows here, where there is one."""
    if curve is not None:
        colour = tuple((np.array(to_rgb(look.colour)) + to_rgb(KEY)) / 2)
        for edge in curve.edges:
            ax.plot(curve.step, edge, **_LINE | {"linewidth": width}, color=colour, zorder=1.9, label=curve.source)


def published_values(series: Sequence[Series], quantity: str) -> list[Floats]:
    """The values of published curves that an axis must hold: those over the steps of the runs."""
    last = max((each.results.step.values.max() for each in series if each.results.sizes["step"]), default=0)
    curves = [each.published[quantity] for each in series if quantity in each.published]
    return [edge[curve.step <= last] for curve in curves for edge in curve.edges]


def shows_published(figure: Figure) -> bool:
    """Whether a figure has a published curve."""
    return bool(published_key(figure))


def published_key(figure: Figure, remark: str = "") -> dict[str, Artist]:
    """The entry of the published curves in a key, where there are any."""
    drawn = {line.get_label() for ax in figure.axes for line in ax.lines}
    return {source + remark: Line2D([], [], **_LINE, color=KEY) for source in sources() if source in drawn}
