"""Curves against the step: their running mean, and figures with one column for each weight layer."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.kit.axes import (
    Floats,
    handle,
    key_below,
    legend_above,
    mark_not_finite,
    mark_rows,
    not_finite_key,
    step_axis,
)
from lossviz.plot.kit.style import COLUMN_WIDTH, KEY, TEXT_WIDTH
from lossviz.plot.series import Series

Share = Literal["none", "row", "all"]
# From this many values on, single ones are noise.
MANY = 100


def window_of(values: int) -> int:
    """Number of values that are averaged: a 25th of all, or 1 if there are few."""
    return values // 25 if values >= MANY else 1


def running_mean(values: Floats, window: int) -> Floats:
    """The mean of the finite ones among `window` values around each; shorter at the ends.

    Example:
        >>> running_mean(np.array([1.0, 2.0, 6.0, np.nan]), window=3).tolist()
        [1.5, 3.0, 4.0, 6.0]
    """
    known = np.where(np.isfinite(values), values, np.nan)
    return np.asarray(pd.Series(known).rolling(min(window, len(values)), center=True, min_periods=1).mean())


def block_means(values: Floats, window: int) -> tuple[Floats, Floats]:
    """Centre and mean of the finite ones of every `window` values, one after another.

    A last block of less than half a window belongs to the one before it. Centres count from the first value, 0.
    """
    starts = np.arange(0, len(values), window)
    if len(starts) > 1 and 2 * (len(values) - starts[-1]) < window:
        starts = starts[:-1]
    ends = np.append(starts, len(values))[1:]
    means = [finite_mean(values[start:end]) for start, end in zip(starts, ends, strict=True)]
    return (starts + ends - 1) / 2, np.array(means)


def finite_mean(values: Floats) -> float:
    """The mean of the finite ones; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def layers_of(series: Sequence[Series]) -> list[int]:
    """Every layer that was measured in some run."""
    return sorted({int(layer) for each in series for layer in each.results.layer.values})


def layer_columns(layers: Sequence[int], rows: int, row: float, share: Share) -> tuple[Figure, list[list[Axes]]]:
    """A figure with rows of panels, a column for each layer.

    Args:
        layers: their numbers.
        rows: how many.
        row: height of one, in inches.
        share: which panels have the same vertical axis.
    """
    width = COLUMN_WIDTH if len(layers) == 1 else max(TEXT_WIDTH, 0.9 * len(layers))
    drawn = Figure(figsize=(width, rows * row + 0.6), layout="constrained")
    grid = drawn.subplots(rows, len(layers), sharey=share, squeeze=False)
    return drawn, [list(axes) for axes in grid]


def layer_titles(drawn: Figure, layers: Sequence[int], top: Sequence[Axes]) -> None:
    """Name the columns, above the marks of what is not finite."""
    for ax, layer in zip(top, layers, strict=True):
        ax.set_title(f"layer {layer}", pad=4 + 4 * mark_rows(drawn))


def draw_averaged(axes: Sequence[Axes], series: Sequence[Series], quantity: str, layers: Sequence[int]) -> None:
    """Draw a quantity of every run against the step, in the column of each layer."""
    for ax, layer in zip(axes, layers, strict=True):
        for each in series:
            if layer in each.results.layer.values:
                draw_average(ax, each, each.results[quantity].sel(layer=layer))


def draw_average(ax: Axes, each: Series, values: xr.DataArray, mean: Floats | None = None) -> None:
    """Draw values against the step: many as a running mean, which may be given, over the thin curve of all of them."""
    step, numbers, look = values.step.values, values.values.astype(float), each.look
    window = window_of(len(step))
    if window == 1:
        draw_curve(ax, each, values)
        return
    ax.plot(step, _known(numbers), color=look.colour, linewidth=0.4, alpha=0.35, label="raw")
    mean = running_mean(numbers, window) if mean is None else mean
    ax.plot(step, mean, color=look.colour, linestyle=look.line, linewidth=1.2, label=each.label)
    mark_not_finite(ax, step[~np.isfinite(numbers)], look)


def draw_curve(ax: Axes, each: Series, values: xr.DataArray, width: float = 0.8) -> None:
    """Draw values against the step; those that are not finite are marked above."""
    look, step, numbers = each.look, values.step.values, values.values.astype(float)
    # With few steps the curve is a guess between points, which are then shown.
    style: dict[str, Any] = {"marker": look.marker if len(step) <= 30 else "", "markersize": 2.5}
    ax.plot(step, _known(numbers), color=look.colour, linestyle=look.line, linewidth=width, **style, label=each.label)
    mark_not_finite(ax, step[~np.isfinite(numbers)], look)


def _known(numbers: Floats) -> Floats:
    return np.where(np.isfinite(numbers), numbers, np.nan)


def finish_curves(drawn: Figure, grid: Sequence[Sequence[Axes]], series: Sequence[Series], layers: list[int]) -> None:
    """Name steps, layers and runs."""
    for axes in grid:
        step_axis(axes, [each.results.step.values for each in series], ticks=5 if len(layers) < 5 else 2)
    for ax in grid[-1]:
        ax.set_xlabel("step")
    for axes in grid[:-1]:
        for ax in axes:
            ax.tick_params(labelbottom=False)
    layer_titles(drawn, layers, grid[0])
    legend_above(drawn, series, [handle(each) for each in series])
    key_below(drawn, window_key(series) | not_finite_key(drawn))


def window_key(series: Sequence[Series]) -> dict[str, Artist]:
    """The key of thin and bold curves, if some are averaged."""
    windows = sorted({window_of(each.results.sizes["step"]) for each in series} - {1})
    if not windows:
        return {}
    return {
        "each measured step": Line2D([], [], color=KEY, linewidth=0.4, alpha=0.6),
        f"mean of {' or '.join(map(str, windows))} measured steps": Line2D([], [], color=KEY, linewidth=1.2),
    }
