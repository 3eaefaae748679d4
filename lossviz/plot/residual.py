"""The figure `residual`: error against iterations of plain and of residual networks (He et al. 2015, figures 4, 6)."""

from collections.abc import Sequence
from dataclasses import replace
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.axes import (
    Floats,
    finite,
    key_below,
    mark_divergence,
    mark_not_finite,
    not_finite_key,
    panel_titles,
)
from lossviz.plot.networks import Network
from lossviz.plot.overlay import draw_published, published_key
from lossviz.plot.smooth import block_means, window_of
from lossviz.plot.style import BOLD, COLUMN_WIDTH, KEY, TEXT_WIDTH, THIN

# From so many iterations on, they are counted in units of 10⁴, as in the paper.
LONG = 20_000
# Until so many evaluations the curve is a guess between points, which are then shown.
FEW = 30
# Of a published validation error, so that the run's own stands out.
PUBLISHED_BOLD = 1.2
# Characters in a line of a legend; and its distance from its panel in letters, which the axis and its label need.
WRAPPED = 48
BELOW_LABEL = 4.4


def window(networks: Sequence[Network]) -> int:
    """Over how many iterations training errors are averaged: a 100th of the longest run, or 100 where that is less.

    Short runs have that of the figure `training`.
    """
    steps = _planned(networks)
    return max(steps // 100, min(window_of(steps), 100))


def figure(networks: Sequence[Network]) -> Figure:
    """Draw plain networks left and residual ones right, or one panel where all are of one kind."""
    panels = {kind: [each for each in networks if each.kind == kind] for kind in ("plain", "residual")}
    panels = {kind: members for kind, members in panels.items() if members}
    steps, mean_over = _planned(networks), window(networks)
    unit = 1e4 if steps >= LONG else 1.0
    drawn = Figure(figsize=(TEXT_WIDTH if len(panels) > 1 else COLUMN_WIDTH, 2.5), layout="constrained")
    axes = drawn.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    curves: list[Floats] = []
    for ax, members in zip(axes, panels.values(), strict=True):
        for each in members:
            curves += _draw(ax, each, mean_over, unit)
        ax.set_xlabel("iterations (10⁴)" if unit > 1 else "iterations")
    axes[0].set_ylabel("error (%)")
    axes[0].set_xlim(-0.02 * steps / unit, 1.02 * steps / unit)
    axes[0].set_ylim(*_limits(curves, long=unit > 1))
    _legends(axes, list(panels.values()))
    panel_titles(drawn, *panels)
    key_below(drawn, _key(mean_over) | published_key(drawn) | not_finite_key(drawn))
    return drawn


def _planned(networks: Sequence[Network]) -> int:
    return max(int(each.series.results.attrs["steps"]) for each in networks)


def _draw(ax: Axes, each: Network, mean_over: int, unit: float) -> list[Floats]:
    """Draw both curves of a network and the published ones; what there is to see of each."""
    series, results = each.series, each.series.results
    few = results.sizes["eval_step"] <= FEW
    training = block_means(each.errors, mean_over)
    validation = results.eval_step.values, results.val_error.values
    seen = [training[1], validation[1]]
    for (step, error), split, width in ((training, "train", THIN), (validation, "val", BOLD)):
        style: dict[str, Any] = {"color": series.look.colour, "linestyle": series.look.line, "linewidth": width}
        if few and split == "val":
            style |= {"marker": series.look.marker, "markersize": 3.0}
        ax.plot(step / unit, error, **style, label=f"{series.label} {split}")
        mark_not_finite(ax, step[~np.isfinite(error)] / unit, series.look)
        mark_divergence(ax, series, step / unit, error)
    for quantity, width in (("train_error", THIN), ("val_error", PUBLISHED_BOLD)):
        curve = series.published.get(quantity)
        if curve is not None:
            draw_published(ax, series.look, replace(curve, step=curve.step / unit), width)
            seen += [edge[curve.step <= results.attrs["steps"]] for edge in curve.edges]
    return seen


def _limits(curves: Sequence[Floats], long: bool) -> tuple[float, float]:
    """Of the error axis, %: all of short trainings; of long ones, errors up to twice the greatest that is left.

    Above that are the first iterations, which would press all others together; the paper leaves them out, too.
    """
    known = [each for each in (finite([curve]) for curve in curves) if each.size]
    low = min((curve.min() for curve in known), default=0.0)
    high = max((curve.max() for curve in known), default=100.0)
    if long:
        high = min(high, 2 * max((curve[-1] for curve in known), default=100.0))
    margin = max(0.05 * (high - low), 0.5)
    return max(low - margin, 0.0), min(high + margin, 101.0)


def _legends(axes: Sequence[Axes], panels: Sequence[Sequence[Network]]) -> None:
    """The networks of each panel, below it: a curve may be anywhere in it."""
    figure = axes[0].get_figure(root=True)
    assert isinstance(figure, Figure)
    room = 0.9 * figure.bbox.width / len(axes)
    heights = []
    for ax, members in zip(axes, panels, strict=True):
        labels = [fill(each.series.legend, WRAPPED, break_on_hyphens=False) for each in members]
        for columns in range(len(members), 0, -1):
            legend = ax.legend(
                [_handle(each) for each in members],
                labels,
                loc="upper center",
                bbox_to_anchor=(0.5, 0),
                borderaxespad=BELOW_LABEL,
                ncols=columns,
            )
            if legend.get_window_extent().width <= room:
                break
        heights.append(legend.get_window_extent().height / figure.dpi)
    # The panels keep their size, whatever the number of networks.
    figure.set_figheight(figure.get_figheight() + max(heights))


def _handle(each: Network) -> Artist:
    look, results = each.series.look, each.series.results
    few = look.marker if results.sizes["eval_step"] <= FEW else ""
    marker = "X" if "diverged_at" in results.attrs else few
    return Line2D([], [], color=look.colour, linestyle=look.line, linewidth=BOLD, marker=marker, markersize=4)


def _key(mean_over: int) -> dict[str, Artist]:
    seen = f"mean over {mean_over:,} iterations" if mean_over > 1 else "of each minibatch"
    return {
        f"training error ({seen})": Line2D([], [], color=KEY, linewidth=THIN),
        "validation error": Line2D([], [], color=KEY, linewidth=BOLD),
    }
