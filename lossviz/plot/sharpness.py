"""The figure `sharpness`: the largest eigenvalues of the Hessian, and 2/η, the edge of stability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.axes import finite, handle, is_steep, key_below, legend_above, not_finite_key, scale_axis, step_axis
from lossviz.plot.layers import draw_curve
from lossviz.plot.series import Series
from lossviz.plot.style import KEY, SMALL, TEXT_WIDTH

_BOLD = 1.3
_THIN = 0.5


def figure(series: Sequence[Series]) -> Figure:
    """Draw the eigenvalues of all runs against the step.

    Args:
        series: runs with the contents of their probe.nc, which have the measure sharpness.
    """
    drawn = Figure(figsize=(0.7 * TEXT_WIDTH, 2.7), layout="constrained")
    ax = drawn.subplots()
    for each in series:
        for rank in each.results["rank"].values:
            draw_curve(ax, each, each.results.hessian_eigenvalue.sel(rank=rank), _BOLD if rank == 1 else _THIN)
    edges = np.array([2 / each.results.attrs["lr"] for each in series])
    values = finite([*(each.results.hessian_eigenvalue.values for each in series), edges])
    scale_axis(ax, values, is_steep(values))
    _draw_edges(ax, series)
    step_axis([ax], [each.results.step.values for each in series])
    ax.set(xlabel="step", ylabel="eigenvalue of the Hessian")
    legend_above(drawn, series, [handle(each) for each in series])
    key_below(drawn, _key(series) | not_finite_key(drawn))
    return drawn


def _draw_edges(ax: Axes, series: Sequence[Series]) -> None:
    """A line at 2/η for every learning rate; in the colour of the run where it is of one among several."""
    rates = sorted({float(each.results.attrs["lr"]) for each in series})
    for rate in rates:
        owners = [each.look.colour for each in series if float(each.results.attrs["lr"]) == rate]
        colour = owners[0] if len(rates) > 1 and len(owners) == 1 else KEY
        ax.axhline(2 / rate, color=colour, linestyle="--", linewidth=0.8, zorder=1, label="2/η")
        text = f"2/η = {2 / rate:g}"
        place: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "xytext": (3, 0), "textcoords": "offset points"}
        ax.annotate(text, (1, 2 / rate), **place, ha="left", va="center", fontsize=SMALL, color=colour)


def _key(series: Sequence[Series]) -> dict[str, Artist]:
    ranks = max(each.results.sizes["rank"] for each in series)
    if ranks == 1:
        return {}
    further = "second" if ranks == 2 else f"second to {ranks}th" if ranks > 3 else "second and third"
    return {"largest": Line2D([], [], color=KEY, linewidth=_BOLD), further: Line2D([], [], color=KEY, linewidth=_THIN)}
