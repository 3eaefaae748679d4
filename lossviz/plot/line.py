"""The figure of a line through a trained network: loss and error of all runs along it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.axes import key_below, legend_above, mark_not_finite, not_finite_key, panel_titles, scale_axis
from lossviz.plot.panels import axis_name
from lossviz.plot.scale import common_scale
from lossviz.plot.scan import losses, not_finite
from lossviz.plot.series import Series
from lossviz.plot.style import KEY, TEXT_WIDTH


def line(series: Sequence[Series], *, log: bool | None = None, clip: tuple[float, float] | None = None) -> Figure:
    """Draw loss and error along the direction.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x only.
        log: whether the axis of the loss is logarithmic; None: when the losses span more than a factor 20.
        clip: losses beyond are drawn at these limits.
    """
    scale = common_scale([losses(each.results) for each in series], log, clip)
    drawn = Figure(figsize=(TEXT_WIDTH, 2.6), layout="constrained")
    loss, error = drawn.subplots(1, 2, sharex=True)
    for each in series:
        bad = each.results.x.values[not_finite(each.results)]
        _draw_curve(loss, each, scale.clipped(losses(each.results)))
        mark_not_finite(loss, bad, each.look)
        _draw_curve(error, each, each.results.error.values)
    scale_axis(loss, np.array([scale.low, scale.high]), scale.log)
    panel_titles(drawn, "loss", "error")
    for ax, label in ((loss, scale.label.replace(", clipped", "\nclipped")), (error, "error (%)")):
        ax.set(xlabel=axis_name(series[0].results.x), ylabel=label)
        ax.axvline(0, color=KEY, linewidth=0.5, linestyle=":", zorder=0)
    legend_above(drawn, series, [_handle(each) for each in series])
    key: dict[str, Artist] = {"checkpoint": Line2D([], [], color=KEY, linewidth=0.5, linestyle=":")}
    key_below(drawn, key | not_finite_key(drawn))
    return drawn


def _draw_curve(ax: Axes, each: Series, values: np.ndarray) -> None:
    # A point of a partial scan may stand between two that are not there yet; only a marker shows it.
    style = {"color": each.look.colour, "linestyle": each.look.line, "marker": each.look.marker, "markersize": 2.0}
    ax.plot(each.results.x.values, values, **style, linewidth=1.2, label=each.label)


def _handle(each: Series) -> Artist:
    return Line2D([], [], color=each.look.colour, linestyle=each.look.line, marker=each.look.marker, markersize=3)
