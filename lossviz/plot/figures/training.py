"""The figure `training`: accuracy of the minibatches, error and loss of both splits, against the step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.config import Config
from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import (
    finite,
    key_below,
    legend_above,
    mark_divergence,
    mark_not_finite,
    panel_titles,
    scale_axis,
    with_unit,
)
from lossviz.plot.kit.curves import draw_published, published_key, running_mean, window_of
from lossviz.plot.kit.style import BOLD, COLUMN_WIDTH, FEW, KEY, SMALL, TEXT_WIDTH, THIN
from lossviz.plot.needs import Trained
from lossviz.plot.published.curves import Published
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import TrainResults

_RAW, _MEAN = "raw", 1.2


def remark(label: str, config: Config) -> str:
    """A caution about the evaluations of a network."""
    if getattr(config.model, "norm", "") != "noisy-batch":
        return ""
    return (
        f"{label}: evaluated without its noise, by running statistics that were averaged over noisy steps; error and "
        "loss (b, c) are not those of the training."
    )


def draw_training(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw the training curves of all runs; where none has an accuracy or error, as in a regression, the loss only.

    Args:
        series: runs with the contents of their train.nc.
        options: log, whether the axis of the loss is logarithmic; None: it is.
    """
    steps = max(TrainResults(each.results).planned for each in series)
    window = window_of(steps)
    if all(TrainResults(each.results).is_regression for each in series):
        drawn = Figure(figsize=(COLUMN_WIDTH + 0.5, 2.5), layout="constrained")
        _draw_loss(drawn.subplots(), series, steps, options.log)
        legend_above(drawn, series, [_handle(each) for each in series])
        key_below(drawn, _key(drawn, series, window))
        return drawn
    drawn = Figure(figsize=(TEXT_WIDTH, 2.5), layout="constrained")
    accuracy, error, loss = drawn.subplots(1, 3)
    for each in series:
        if "accuracy" in _of_steps(each):
            _draw_minibatches(accuracy, each, "accuracy", window)
            _draw_splits(error, each, "error")
        draw_published(accuracy, each.look, _averaged(each.published.get("accuracy"), window))
        draw_published(error, each.look, each.published.get("val_error"))
    _draw_loss(loss, series, steps, options.log)
    for ax, label in ((accuracy, "accuracy (%)"), (error, "error (%)")):
        _name_axes(ax, label, steps)
    accuracy.set_ylim(top=min(accuracy.get_ylim()[1], 102))
    accuracy.set_ylim(bottom=0)
    error.set_ylim(bottom=0)
    panel_titles(drawn, "minibatch accuracy", "error", "loss")
    legend_above(drawn, series, [_handle(each) for each in series])
    key = _key(drawn, series, window) | published_key(drawn, " (b: test set)")
    key_below(drawn, key, [each.remark for each in series if each.remark])
    return drawn


def _of_steps(each: Series) -> list[str]:
    """What is drawn of the minibatches: their loss where the training set was not evaluated."""
    classifies = not TrainResults(each.results).is_regression
    return ["accuracy"] * classifies + ["loss"] * ("train_loss" not in each.results)


def _draw_loss(ax: Axes, series: Sequence[Series], steps: int, log: bool | None) -> None:
    """Draw the losses of both splits; that of the minibatches where the training set was not evaluated."""
    shown = []
    for each in series:
        found = [name for name in ("train_loss", "val_loss") if name in each.results]
        _draw_splits(ax, each, "loss")
        if "loss" in _of_steps(each):
            _draw_minibatches(ax, each, "loss", window_of(steps))
            found.append("loss")
        shown += [TrainResults(each.results).curve(name) for name in found]
    # Further losses have a line each, of the test set, thin and named at their ends.
    terms = [(each, name) for each in series for name in each.results if str(name).startswith("val_loss_")]
    for each, name in terms:
        _draw_term(ax, each, str(name))
    losses = [*shown, *(each.results[name] for each, name in terms)]
    scale_axis(ax, finite([each.values for each in losses]), log is not False)
    _name_axes(ax, with_unit(losses), steps)


def _draw_term(ax: Axes, each: Series, name: str) -> None:
    step, values, look = each.results.eval_step.values, each.results[name].values, each.look
    term = name.removeprefix("val_loss_")
    ax.plot(step, values, color=look.colour, linestyle=":", linewidth=THIN, label=term)
    if len(values) and np.isfinite(values[-1]):
        ax.annotate(
            term, (step[-1], values[-1]), xytext=(-2, 2), textcoords="offset points", ha="right", fontsize=SMALL
        )


def _name_axes(ax: Axes, label: str, steps: int) -> None:
    ax.set(xlabel="step", ylabel=label, xlim=(-0.02 * steps, 1.02 * steps))


def _averaged(curve: Published | None, window: int) -> Published | None:
    """The mean of a published curve over as many steps as that of the runs."""
    if curve is None:
        return None
    first, last = curve.step[0], curve.step[-1]
    points = round((last - first) / np.median(np.diff(curve.step))) + 1
    even = np.linspace(first, last, points)
    per_window = max(1, round(window * (points - 1) / (last - first)))
    edges = tuple(running_mean(np.interp(even, curve.step, edge), per_window) for edge in curve.edges)
    return replace(curve, step=even, edges=edges)


def _averaging(curve: xr.DataArray, window: int) -> tuple[int, int]:
    """How many values of the minibatches are averaged, for a mean over so many steps; and over how many steps it is."""
    between = float(np.median(np.diff(curve.step))) if curve.size > 1 else 1.0
    values = max(1, round(window / between))
    return values, round(values * between)


def _draw_minibatches(ax: Axes, each: Series, quantity: str, window: int) -> None:
    """Draw a quantity of the minibatches, and its mean over so many steps."""
    curve, look = TrainResults(each.results).curve(quantity), each.look
    step, values, (averaged, _) = curve.step.values, curve.values, _averaging(curve, window)
    if not len(step):
        return
    if averaged > 1:
        raw = np.where(np.isfinite(values), values, np.nan)
        ax.plot(step, raw, color=look.colour, linewidth=0.5, alpha=0.3, label=_RAW)
    mean = running_mean(values, averaged)
    marker = look.marker if len(step) <= FEW else ""
    style: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "linewidth": _MEAN}
    ax.plot(step, mean, **style, marker=marker, markersize=1.5, label=each.label)
    mark_not_finite(ax, step[~np.isfinite(values)], look)
    mark_divergence(ax, each, step, mean)


def _draw_splits(ax: Axes, each: Series, quantity: str) -> None:
    look = each.look
    for split, width, size in (("train", THIN, 1.5), ("val", BOLD, 3.0)):
        if f"{split}_{quantity}" not in each.results:
            continue  # eval_examples: none
        curve = TrainResults(each.results).curve(f"{split}_{quantity}")
        step, values = curve.eval_step.values, curve.values
        marker = look.marker if len(step) <= FEW else ""
        style: dict[str, Any] = {"color": look.colour, "linestyle": look.line, "linewidth": width}
        ax.plot(step, values, **style, marker=marker, markersize=size, label=f"{each.label} {split}")
        mark_not_finite(ax, step[~np.isfinite(values)], look)
        mark_divergence(ax, each, step, values)


def _handle(each: Series) -> Artist:
    marker = "X" if "diverged_at" in each.results.attrs else each.look.marker
    return Line2D([], [], color=each.look.colour, linestyle=each.look.line, marker=marker, markersize=4)


def _key(drawn: Figure, series: Sequence[Series], window: int) -> dict[str, Artist]:
    """What the widths of the curves mean, of those that there are."""
    panels = zip("abc", drawn.axes, strict=False)
    labels = {letter: [str(line.get_label()) for line in ax.lines] for letter, ax in panels}
    key: dict[str, Artist] = {}

    def add(text: str, wanted: Callable[[str], bool], handle: Artist) -> None:
        there = [letter for letter, own in labels.items() if any(map(wanted, own))]
        if there:
            key[f"({', '.join(there)}) {text}" if len(labels) > 1 else text] = handle

    found = [_averaging(TrainResults(each.results).curve(name), window) for each in series for name in _of_steps(each)]
    over = sorted({steps for values, steps in found if values > 1})
    add("each minibatch", _RAW.__eq__, Line2D([], [], color=KEY, linewidth=0.5, alpha=0.5))
    mean = Line2D([], [], color=KEY, linewidth=_MEAN)
    add(f"mean over {' or '.join(map(str, over))} steps", _RAW.__eq__, mean)
    add("training set", lambda label: label.endswith(" train"), Line2D([], [], color=KEY, linewidth=THIN))
    add("validation set", lambda label: label.endswith(" val"), Line2D([], [], color=KEY, linewidth=BOLD))
    if not over and any("loss" in _of_steps(each) for each in series):
        key["(c) minibatches" if len(labels) > 1 else "minibatches"] = mean
    return key


FIGURES = (FigureKind("training", Trained(remark), draw_training),)
