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
    ones = np.ones(min(window, len(values)))
    total = np.convolve(np.where(known, values, 0.0), ones, "same")
    count = np.convolve(known.astype(float), ones, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
