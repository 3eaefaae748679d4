"""The figure `residual`: errors of plain and of residual networks (He et al. 2015, figures 4, 6), with a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import (
    Floats,
    finite,
    key_below,
    mark_divergence,
    mark_not_finite,
    panel_titles,
    widest_legend,
)
from lossviz.plot.kit.curves import block_means, draw_published, finite_mean, published_key
from lossviz.plot.kit.networks import Network, compares, families, is_of_family, planned_steps, window
from lossviz.plot.kit.style import BOLD, COLUMN_WIDTH, FEW, KEY, TEXT_WIDTH, THIN
from lossviz.plot.needs import lacking
from lossviz.plot.series import DEFAULT, Options, PlottedRun, training_note
from lossviz.results import TrainResults

# From this many iterations on, the axis counts in units of 10⁴, as in the paper.
LONG = 20_000
# The width of a published validation error, so that the run's own stands out.
PUBLISHED_BOLD = 1.2
# Characters in a line of a legend; and its distance from its panel in letters, which the axis and its label need.
WRAPPED = 48
BELOW_LABEL = 4.4
_ABSENT = "–"
_HEAD = ("network", "run", "parameters", "iterations", "training error", "validation error", "best", "at")
_TEXT_COLUMNS = 2
# What there is of `published_final`, by the data that the run has in common with the paper.
_PUBLISHED: dict[str, dict[str, str]] = {
    "imagefolder": {
        "training": "Figure 4, training",
        "validation": "Figure 4, centre crop",
        "table": "Tables 2 and 3, 10 crops",
    },
    "cifar10": {
        "training": "Figure 6, training",
        "validation": "Figure 6, test",
        "table": "Table 6, test",
        "reproduction": "akamaster, best",
    },
}


def draw_residual(networks: Sequence[Network], _: Options = DEFAULT) -> Figure:
    """Draw plain networks left and residual ones right, or one panel where all are of one kind."""
    panels = {kind: [each for each in networks if each.kind == kind] for kind in ("plain", "residual")}
    panels = {kind: members for kind, members in panels.items() if members}
    steps, mean_over = planned_steps(networks), window(networks)
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
    key_below(drawn, _key(mean_over) | published_key(drawn))
    return drawn


def _draw(ax: Axes, each: Network, mean_over: int, unit: float) -> list[Floats]:
    """Draw both curves of a network and the published ones; what there is to see of each."""
    results = each.results
    few = results.sizes["eval_step"] <= FEW
    training = block_means(each.errors, mean_over)
    validation = results.eval_step.values, results.val_error.values
    seen = [training[1], validation[1]]
    for (step, error), split, width in ((training, "train", THIN), (validation, "val", BOLD)):
        style: dict[str, Any] = {"color": each.look.colour, "linestyle": each.look.line, "linewidth": width}
        if few and split == "val":
            style |= {"marker": each.look.marker, "markersize": 3.0}
        ax.plot(step / unit, error, **style, label=f"{each.label} {split}")
        mark_not_finite(ax, step[~np.isfinite(error)] / unit, each.look)
        mark_divergence(ax, each, step / unit, error)
    for quantity, width in (("train_error", THIN), ("val_error", PUBLISHED_BOLD)):
        curve = each.published.get(quantity)
        if curve is not None:
            draw_published(ax, each.look, replace(curve, step=curve.step / unit), width)
            seen += [edge[curve.step <= results.attrs["steps"]] for edge in curve.edges]
    return seen


def _limits(curves: Sequence[Floats], long: bool) -> tuple[float, float]:
    """Limits of the error axis, %: all errors of short trainings; for long ones, up to twice the greatest at the end.

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
        labels = [fill(each.legend, WRAPPED, break_on_hyphens=False) for each in members]
        style: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "borderaxespad": BELOW_LABEL}
        make = partial(ax.legend, [_handle(each) for each in members], labels, **style)
        legend, _ = widest_legend(make, len(members), room)
        heights.append(legend.get_window_extent().height / figure.dpi)
    # The panels keep their size, whatever the number of networks.
    figure.set_figheight(figure.get_figheight() + max(heights))


def _handle(each: Network) -> Artist:
    look, results = each.look, each.results
    few = look.marker if results.sizes["eval_step"] <= FEW else ""
    marker = "X" if "diverged_at" in results.attrs else few
    return Line2D([], [], color=look.colour, linestyle=look.line, linewidth=BOLD, marker=marker, markersize=4)


def _key(mean_over: int) -> dict[str, Artist]:
    seen = f"mean over {mean_over:,} iterations" if mean_over > 1 else "of each minibatch"
    return {
        f"training error ({seen})": Line2D([], [], color=KEY, linewidth=THIN),
        "validation error": Line2D([], [], color=KEY, linewidth=BOLD),
    }


def table(networks: Sequence[Network]) -> str:
    """The size, and the last and best errors in %, of every network, as Markdown.

    The training error is the mean over the last `window` minibatches, the validation error that of the last
    evaluation. Columns of published numbers are there where a run is the counterpart of a published one.
    """
    mean_over = window(networks)
    finals = [each.final for each in networks]
    names = {key: name for each in networks for key, name in _PUBLISHED.get(each.data, {}).items()}
    names = {key: name for key, name in names.items() if any(final.get(key) for final in finals)}
    rows = [
        [*_measured(each, mean_over), *(final.get(key) or _ABSENT for key in names)]
        for each, final in zip(networks, finals, strict=True)
    ]
    return _markdown([*_HEAD, *names.values()], rows) + "\n" + _remarks(mean_over, names)


def _measured(each: Network, mean_over: int) -> list[str]:
    results = each.results
    done, validation = results.sizes["step"], results.val_error.values
    known = np.isfinite(validation).any()
    best = int(np.nanargmin(np.where(np.isfinite(validation), validation, np.nan))) if known else 0
    return [
        each.label,
        each.run,
        _count(results.attrs.get("parameters")),
        training_note(TrainResults(results)) or f"{done:,}",
        _error(finite_mean(each.errors[-mean_over:])),
        _error(validation[-1]) if len(validation) else _ABSENT,
        _error(validation[best]) if known else _ABSENT,
        f"{int(results.eval_step[best]):,}" if known else _ABSENT,
    ]


def _count(parameters: int | None) -> str:
    """A number of parameters in millions, as in He et al. 2015."""
    if parameters is None:
        return _ABSENT
    millions = parameters / 1e6
    # The number itself if it would round to nothing.
    return f"{millions:.{1 if millions >= 10 else 2}f} M" if millions >= 0.01 else f"{parameters:,}"


def _error(percent: float) -> str:
    return f"{percent:.2f}" if np.isfinite(percent) else _ABSENT


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        left = [cell.ljust(width) for cell, width in zip(cells[:_TEXT_COLUMNS], widths, strict=False)]
        right = [cell.rjust(width) for cell, width in zip(cells[_TEXT_COLUMNS:], widths[_TEXT_COLUMNS:], strict=True)]
        return f"| {' | '.join([*left, *right])} |\n"

    rule = ["-" * width for width in widths[:_TEXT_COLUMNS]]
    rule += ["-" * (width - 1) + ":" for width in widths[_TEXT_COLUMNS:]]
    return "".join(map(line, [head, rule, *rows]))


def _remarks(mean_over: int, names: Mapping[str, str]) -> str:
    of_minibatches = f"mean over the last {mean_over:,} of them" if mean_over > 1 else "the last one"
    text = (
        f"Errors in %. Training: of the minibatches as they were trained on, augmented; {of_minibatches}.\n"
        "Validation: the last evaluation, and the best one with its iteration.\n"
    )
    if names:
        text += (
            "Figures and tables: He et al. 2015 (arXiv:1512.03385); of a figure it is the last point of the curve.\n"
        )
    if "reproduction" in names:
        text += "akamaster: best epoch, github.com/akamaster/pytorch_resnet_cifar10.\n"
    return text


@dataclass(frozen=True)
class Families:
    """The networks of each family: networks for ImageNet and for small images have no axis in common."""

    of_scans = False

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Network]]:
        found = families(runs, options.reference)
        return {name if len(found) == 1 else f"{name}-{family}": members for family, members in found.items()}

    def lack(self, runs: Sequence[PlottedRun]) -> str:
        members = [each.run for each in runs if is_of_family(each)]
        commands = [run.command("train") for run in members] or ["train resnet-fig6-small"]
        return lacking("train.nc with errors of a model resnet or resnet-imagenet", commands)


FIGURES = (FigureKind("residual", Families(), draw_residual, table, by_default=compares),)
