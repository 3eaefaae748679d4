"""The figures `scalars`, every measure that is one number a step, and `sharpness`, with the edge of stability."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import (
    Floats,
    finite,
    is_steep,
    key_below,
    legend_above,
    panel_titles,
    scale_axis,
    step_axis,
    with_unit,
)
from lossviz.plot.kit.curves import draw_average, draw_curve, running_mean, window_key, window_of
from lossviz.plot.kit.edge import Rule, draw_edges, edge_notes, edge_of, edge_values, plain_edge, step_edge
from lossviz.plot.kit.panels import add_panels, rows_and_columns
from lossviz.plot.kit.style import KEY, TEXT_WIDTH
from lossviz.plot.needs import Probed
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import ProbeResults

# What every probe.nc has beside its measures.
_BASE = {"loss", "grad_norm", "penalty", "lr"}
# Measures with an edge: how it follows from the learning rate.
_EDGES: dict[str, Rule] = {"critical_sharpness": step_edge, "batch_sharpness": plain_edge}
# A quotient is averaged as the quotient of averages: that of a single step is biased.
_QUOTIENTS = {"gradient_noise_scale": ("gradient_variance", "gradient_signal")}
# Result files are ASCII, figures are not.
_SIGNS = {"2 / eta_c": r"2/$\eta_c$", "g'Hg": "gᵀHg", "|g|^2": "‖g‖²", "|G|^2": "‖G‖²"}
_NO_EDGE = "{}: no edge of the batch sharpness is drawn; 2/η is that of SGD without momentum."
PER_ROW = 3
# Widths of the largest eigenvalue and of further ones.
_BOLD, _THIN = 1.3, 0.5


def draw_scalars(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw a panel for each quantity."""
    names = list(dict.fromkeys(name for each in series for name in scalars(ProbeResults(each.results))))
    rows, columns = rows_and_columns(len(names), PER_ROW)
    width = 0.7 * TEXT_WIDTH if columns == 1 else TEXT_WIDTH
    drawn = Figure(figsize=(width, rows * 2.0 + 0.7), layout="constrained")
    panels = add_panels(drawn, len(names), columns)
    notes = []
    for ax, name in zip(panels, names, strict=True):
        shown = [each for each in series if name in each.results]
        _draw(ax, shown, name)
        without = [each.label for each in shown if name == "batch_sharpness" and edge_of(each, plain_edge) is None]
        notes += [_NO_EDGE.format(", ".join(without))] if without else []
    step_axis(panels, [each.results.step.values for each in series], 5 if columns == 1 else 3)
    for ax in panels[-columns:]:
        ax.set_xlabel("step")
    panel_titles(drawn, *(name.replace("_", " ") for name in names))
    legend_above(drawn, series)
    key_below(drawn, window_key(series), notes)
    return drawn


def scalars(results: ProbeResults) -> list[str]:
    """The measures that are one number a step, without the parts of quotients."""
    parts = {part for name, pair in _QUOTIENTS.items() if name in results.data for part in pair}
    return [
        str(name)
        for name, values in results.data.data_vars.items()
        if values.dims == ("step",) and name not in _BASE | parts
    ]


def _draw(ax: Axes, series: Sequence[Series], name: str) -> None:
    means = [_averaged(each, name) for each in series]
    measured = finite(means if _smooth(series) else [each.results[name].values for each in series])
    edges = [edge_of(each, _EDGES[name]) if name in _EDGES else None for each in series]
    values = np.r_[measured, edge_values(edges, measured)]
    scale_axis(ax, values, is_steep(values))
    for each, mean in zip(series, means, strict=True):
        draw_average(ax, each, each.results[name], mean)
    draw_edges(ax, series, edges)
    found = [each.results[name] for each in series]
    label = with_unit(found, str(found[0].attrs.get("long_name", name)))
    for plain, sign in _SIGNS.items():
        label = label.replace(plain, sign)
    ax.set_ylabel(fill(label, 28))


def _smooth(series: Sequence[Series]) -> bool:
    return any(window_of(each.results.sizes["step"]) > 1 for each in series)


def _averaged(each: Series, name: str) -> Floats:
    window = window_of(each.results.sizes["step"])
    if name in _QUOTIENTS and window > 1:
        above, below = (running_mean(each.results[part].values, window) for part in _QUOTIENTS[name])
        return np.asarray(np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0))
    return running_mean(each.results[name].values.astype(float), window)


@dataclass(frozen=True)
class Scalars(Probed):
    """Any measure that is one number a step."""

    quantity: str = ""
    measure: str = "critical-sharpness"

    def fits(self, results: ProbeResults) -> bool:
        return results.measured > 0 and bool(scalars(results))


def draw_sharpness(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw the largest eigenvalues of the Hessian of all runs against the step."""
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
    legend_above(drawn, series)
    key_below(drawn, _ranks_key(series), edge_notes(series))
    return drawn


def _ranks_key(series: Sequence[Series]) -> dict[str, Artist]:
    ranks = max(each.results.sizes["rank"] for each in series)
    if ranks == 1:
        return {}
    further = "second" if ranks == 2 else f"second to {ranks}th" if ranks > 3 else "second and third"
    return {"largest": Line2D([], [], color=KEY, linewidth=_BOLD), further: Line2D([], [], color=KEY, linewidth=_THIN)}


SHARPNESS = FigureKind("sharpness", Probed("hessian_eigenvalue", measure="sharpness"), draw_sharpness)
SCALARS = FigureKind("scalars", Scalars(), draw_scalars)
FIGURES = (SHARPNESS, SCALARS)
