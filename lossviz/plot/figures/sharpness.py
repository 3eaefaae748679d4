"""The figure `sharpness`: the largest eigenvalues of the Hessian, and the optimiser's edge of stability."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import (
    finite,
    handle,
    is_steep,
    key_below,
    legend_above,
    not_finite_key,
    scale_axis,
    step_axis,
)
from lossviz.plot.kit.curves import draw_curve
from lossviz.plot.kit.edge import draw_edges, edge_notes, edge_of, edge_values
from lossviz.plot.kit.style import KEY, TEXT_WIDTH
from lossviz.plot.needs import Probed
from lossviz.plot.series import DEFAULT, Options, Series

_BOLD = 1.3
_THIN = 0.5


def draw_sharpness(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw the eigenvalues of all runs against the step.

    Args:
        series: runs with the contents of their probe.nc, which have the measure sharpness.
    """
    drawn = Figure(figsize=(0.7 * TEXT_WIDTH, 2.7), layout="constrained")
    ax = drawn.subplots()
    for each in series:
        for rank in each.results["rank"].values:
            draw_curve(ax, each, each.results.hessian_eigenvalue.sel(rank=rank), _BOLD if rank == 1 else _THIN)
    eigenvalues, edges = finite([each.results.hessian_eigenvalue.values for each in series]), list(map(edge_of, series))
    values = np.r_[eigenvalues, edge_values(edges, eigenvalues)]
    scale_axis(ax, values, is_steep(values))
    draw_edges(ax, series, edges)
    step_axis([ax], [each.results.step.values for each in series])
    ax.set(xlabel="step", ylabel="eigenvalue of the Hessian")
    legend_above(drawn, series, [handle(each) for each in series])
    key_below(drawn, _key(series) | not_finite_key(drawn), edge_notes(series))
    return drawn


def _key(series: Sequence[Series]) -> dict[str, Artist]:
    ranks = max(each.results.sizes["rank"] for each in series)
    if ranks == 1:
        return {}
    further = "second" if ranks == 2 else f"second to {ranks}th" if ranks > 3 else "second and third"
    return {"largest": Line2D([], [], color=KEY, linewidth=_BOLD), further: Line2D([], [], color=KEY, linewidth=_THIN)}


FIGURE = FigureKind("sharpness", Probed("hessian_eigenvalue", measure="sharpness"), draw_sharpness)
