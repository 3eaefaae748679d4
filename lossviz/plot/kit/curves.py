"""Curves against the step: running means, and the published ones, dotted, in a greyer shade of the run's colour."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lossviz.plot.kit.axes import Floats, mark_not_finite
from lossviz.plot.kit.style import FEW, KEY, Look
from lossviz.plot.published.curves import Published, sources
from lossviz.plot.series import Series

# From this many values on, single ones are noise.
MANY = 100
_PUBLISHED: dict[str, Any] = {"linestyle": (0, (1, 1)), "linewidth": 0.8}


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
    style: dict[str, Any] = {"marker": look.marker if len(step) <= FEW else "", "markersize": 2.5}
    ax.plot(step, _known(numbers), color=look.colour, linestyle=look.line, linewidth=width, **style, label=each.label)
    mark_not_finite(ax, step[~np.isfinite(numbers)], look)


def _known(numbers: Floats) -> Floats:
    return np.where(np.isfinite(numbers), numbers, np.nan)


def window_key(series: Sequence[Series]) -> dict[str, Artist]:
    """The key of thin and bold curves, if some are averaged."""
    windows = sorted({window_of(each.results.sizes["step"]) for each in series} - {1})
    if not windows:
        return {}
    return {
        "each measured step": Line2D([], [], color=KEY, linewidth=0.4, alpha=0.6),
        f"mean of {' or '.join(map(str, windows))} measured steps": Line2D([], [], color=KEY, linewidth=1.2),
    }


def draw_published(ax: Axes, look: Look, curve: Published | None, width: float = 0.8) -> None:
    """Draw the published counterpart of what a run shows here, where there is one."""
    if curve is not None:
        colour = tuple((np.array(to_rgb(look.colour)) + to_rgb(KEY)) / 2)
        for edge in curve.edges:
            ax.plot(curve.step, edge, **_PUBLISHED | {"linewidth": width}, color=colour, zorder=1.9, label=curve.source)


def published_values(series: Sequence[Series], quantity: str) -> list[Floats]:
    """The values of published curves that an axis must hold: those over the steps of the runs."""
    last = max((each.results.step.values.max() for each in series if each.results.sizes["step"]), default=0)
    curves = [each.published[quantity] for each in series if quantity in each.published]
    return [edge[curve.step <= last] for curve in curves for edge in curve.edges]


def published_key(figure: Figure, remark: str = "") -> dict[str, Artist]:
    """The entry of the published curves in a key, where there are any."""
    drawn = {line.get_label() for ax in figure.axes for line in ax.lines}
    return {source + remark: Line2D([], [], **_PUBLISHED, color=KEY) for source in sources() if source in drawn}
