"""The figure of a line through a trained network: loss and error along it (Li et al. 2018, figures 2 and 3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from lossviz.plot.figure import FigureKind, on_request
from lossviz.plot.kit.axes import (
    LEFT,
    RIGHT,
    Floats,
    finite,
    key_below,
    mark_not_finite,
    mark_rows,
    scale_axis,
    twin,
)
from lossviz.plot.kit.labels import circle, has_checkpoints, has_path, keep_off_curves, name_beside, names
from lossviz.plot.kit.panels import add_panels, axis_name, rows_and_columns, title, title_height
from lossviz.plot.kit.scale import Scale, common_scale
from lossviz.plot.kit.style import COLUMN_WIDTH, FEW, KEY, SMALL, TEXT_WIDTH, Look
from lossviz.plot.needs import Lines
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import SurfaceResults

PER_ROW = 3
# As a share of the panel's height: a narrower band is hidden by its curve.
_VISIBLE = 0.02
_LINES: dict[str, Any] = {"training set": "-", "test set": (0, (3, 1.5))}
_STDERR = "± standard error"
_ITSELF = "loss of a checkpoint itself"


def draw_line(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw loss (left) and error (right) along the direction, a panel for each run, on the same scales."""
    shown = [each.results[name] for each in series for name in _of(each.results, "loss")]
    shown += [each.results[name] for each in series for name in each.surface.terms]
    shown += [each.results.checkpoint_loss for each in series if has_checkpoints(each.results)]
    scale = common_scale(shown, options.log, options.clip)
    errors = finite([each.surface.values(name) for each in series for name in _of(each.results, "error")])
    rows, columns = rows_and_columns(len(series), PER_ROW)
    width = COLUMN_WIDTH + 0.5 if columns == 1 else TEXT_WIDTH
    drawn = Figure(figsize=(width, rows * (1.75 + title_height(series)) + 0.55), layout="constrained")
    panels = add_panels(drawn, len(series), columns)
    label = scale.label.replace(", clipped", "\nclipped")
    called = [_draw_losses(ax, each.results, scale) for ax, each in zip(panels, series, strict=True)]
    for place, (ax, each) in enumerate(zip(panels, series, strict=True)):
        ax.set_xlabel(axis_name(each.results, "x", named=place + columns >= len(series)))
        ax.axvline(0, color=KEY, linewidth=0.5, linestyle=":", zorder=0)
        if errors.size:
            right = twin(ax, columns, place, len(series) - 1, (label, "error (%)"))
            _draw_errors(right, each.results, errors)
        elif place % columns == 0:  # a regression has no errors
            ax.set_ylabel(label)
    for ax, each in zip(panels, series, strict=True):
        ax.set_title(title(each), fontsize=SMALL, pad=4 + 4 * mark_rows(drawn))
    key_below(drawn, _key(drawn))
    keep_off_curves(drawn, panels, called)
    return drawn


def _of(results: xr.Dataset, quantity: str) -> dict[str, str]:
    """The variables of a quantity and the split that each is of."""
    # A scan of both splits has the training split under the plain name.
    first = "test set" if results.attrs.get("split") == "test" else "training set"
    found = {quantity: first, f"test_{quantity}": "test set"}
    return {name: split for name, split in found.items() if name in results}


def _draw_losses(ax: Axes, results: xr.Dataset, scale: Scale) -> list[Annotation]:
    """The curves with their bands, and the checkpoints, whose names are returned."""
    x, known = results.x.values, ~SurfaceResults(results).to_do
    margin = 0.02 * (x[-1] - x[0])
    ax.set_xlim(x[0] - margin, x[-1] + margin)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    scale_axis(ax, np.array([scale.low, scale.high]), scale.log)
    for name, split in _of(results, "loss").items():
        raw = SurfaceResults(results).values(name)
        _draw_curve(ax, results, scale.clipped(raw), LEFT, split)
        mark_not_finite(ax, x[known & ~np.isfinite(raw)], LEFT)
        if f"{name}_stderr" in results:
            _draw_band(ax, x[known], raw[known], SurfaceResults(results).values(f"{name}_stderr")[known], scale)
    for name, term in SurfaceResults(results).terms.items():
        heights = scale.clipped(SurfaceResults(results).values(name))
        ax.plot(x[known], heights[known], color=LEFT.colour, linestyle=":", linewidth=0.8, label=f"term {term}")
        if known.any() and np.isfinite(heights[known][-1]):
            ax.annotate(term, (x[known][-1], heights[known][-1]), ha="right", va="bottom", fontsize=SMALL)
    called = []
    if has_checkpoints(results):
        heights = scale.clipped(results.checkpoint_loss.values)
        for place, height, name in zip(results.checkpoint_x.values, heights, names(results), strict=True):
            ax.plot([place], [height], **circle("white"), linestyle="none", zorder=6, label=_ITSELF)
            if np.isfinite(height) and not has_path(results):
                called.append(name_beside(ax, place, height, name))
    return called


def _draw_errors(ax: Axes, results: xr.Dataset, errors: Floats) -> None:
    scale_axis(ax, errors, log=False)
    for name, split in _of(results, "error").items():
        _draw_curve(ax, results, SurfaceResults(results).values(name), RIGHT, split)


def _draw_curve(ax: Axes, results: xr.Dataset, heights: Floats, look: Look, split: str) -> None:
    known = ~SurfaceResults(results).to_do
    marker = look.marker if known.sum() <= FEW else ""
    style: dict[str, Any] = {"color": look.colour, "linestyle": _LINES[split], "linewidth": 1.2}
    ax.plot(results.x.values[known], heights[known], **style, marker=marker, markersize=1.8, label=split)


def _draw_band(ax: Axes, x: Floats, loss: Floats, stderr: Floats, scale: Scale) -> None:
    known = np.where(np.isfinite(loss), loss, np.nan)
    low, high = scale.clipped(known - stderr), scale.clipped(known + stderr)
    if scale.log:
        low = np.maximum(low, scale.low)
        share = np.log(high / low) / np.log(scale.high / scale.low)
    else:
        share = (high - low) / (scale.high - scale.low)
    if (share > _VISIBLE).any():
        ax.fill_between(x, low, high, facecolor=LEFT.fill, linewidth=0, zorder=1, label=_STDERR)


def _key(drawn: Figure) -> dict[str, Artist]:
    labels = {artist.get_label() for ax in drawn.axes for artist in (*ax.lines, *ax.collections)}
    key: dict[str, Artist] = {
        split: Line2D([], [], color=KEY, linestyle=style, linewidth=1.2)
        for split, style in _LINES.items()
        if split in labels
    }
    if _STDERR in labels:
        key[_STDERR] = Patch(facecolor=LEFT.fill)
    key["checkpoint"] = Line2D([], [], color=KEY, linewidth=0.5, linestyle=":")
    if _ITSELF in labels:
        key[_ITSELF] = Line2D([], [], **circle("white"), linestyle="none")
    return key


LINE = FigureKind("line", Lines(), draw_line, by_default=on_request)
FIGURES = (LINE,)
