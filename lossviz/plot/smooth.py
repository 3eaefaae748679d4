"""Noisy curves: their running mean, and from how many values on that is the curve."""

import numpy as np

from lossviz.plot.axes import Floats

# From this many values on, single ones are noise.
MANY = 100


def window_of(values: int) -> int:
    """How many values are averaged: a 25th of many, none of few."""
    return values // 25 if values >= MANY else 1


def running_mean(values: Floats, window: int) -> Floats:
    """The mean of the finite ones among `window` values around each; shorter at the ends."""
    known = np.isfinite(values)
    window = min(window, len(values))
    total = _window_sums(np.where(known, values, 0.0), window)
    count = _window_sums(known.astype(float), window)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


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


def _window_sums(values: Floats, window: int) -> Floats:
    """Sums of `window` values around each, zero beyond the ends: np.convolve's "same", whatever the window's length.

    A window is the end of one block of its length and the beginning of the next; as nothing is subtracted, a large
    value leaves no rounding error in windows that do not hold it.
    """
    count = len(values)
    blocks = np.zeros((-(-count // window) + 1, window))
    blocks.ravel()[window // 2 : window // 2 + count] = values
    beginnings = np.cumsum(blocks, axis=1).ravel()
    ends = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].ravel()
    return np.where(np.arange(count) % window, ends[:count] + beginnings[window - 1 :][:count], ends[:count])
