"""The mean over all examples from nested samples: an unbiased estimate and its standard error.

It is a difference estimator with double sampling (Cochran, Sampling Techniques, 3rd ed. 1977, sections 7.2 and 12.6);
with more levels it is the multilevel one of Giles, Acta Numerica 2015. docs/accuracy.md has the formulas.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# The places of the order are dealt to so many groups, in which estimates are compared.
GROUPS = 32
# An estimate of which a few examples are the most part has intervals that hold too seldom. Cochran (section 2.15) takes
# n > 25 * skewness^2 examples, after which this is the skewness of the mean.
LARGEST_SKEWNESS = 0.2
FOR_STOPPING = 0.75
_ROUNDING = 4 * np.finfo(np.float64).eps


class Beyond(NamedTuple):
    """What further examples, that nobody has seen, are taken to add to a sum of squares."""

    squares: float
    examples: int


NOTHING = Beyond(0.0, 0)


@dataclass(frozen=True)
class Estimate:
    """An unbiased estimate of a mean over all examples.

    Attributes:
        mean: of the values.
        stderr: its standard error, of sampling without replacement; 0 where all were seen in full precision.
        skewness: of the estimate, in size.
        deviations: (GROUPS,); the sum of their squares is that of the standard error, and the standard error of a
            difference of two estimates from as many examples is the norm of the difference of their deviations.
    """

    mean: float
    stderr: float
    skewness: float
    deviations: Values


def estimate(
    values: Values,
    total: int,
    low: Values | None = None,
    control: Values | None = None,
    beyond: Beyond = NOTHING,
    worst: float = 0.0,
) -> Estimate:
    """Mean over all N examples from l_1..l_n, b_1..b_k in a low precision and a control variate c_1..c_m, n <= k <= m.

    mean_n(l - b) + mean_k(b - c) + mean_m(c), with the variance (prefixes are nested, so it telescopes)
    (1/n - 1/k) S2(l - b) + (1/k - 1/m) S2(l - c) + (1/m - 1/N) S2(l). Without b it is l; without c it is 0, and m = k.

    Args:
        values: l, in the order that all points share.
        total: N.
        low: b.
        control: c, any numbers that do not depend on the examples.
        beyond: part of every sample variance.
        worst: the square of an error of b that one further example is taken to have.
    """
    own = values if low is None else low
    n, k = len(values), len(own)
    m = k if control is None else len(control)
    parts = [own if control is None else own - control[:k]]
    variance = (1 / m - 1 / total) * _precise_variance(values, own, beyond)
    if control is not None:
        variance += (1 / k - 1 / m) * _precise_variance(values - control[:n], parts[0], beyond)
        parts.append(control)
    if low is not None:
        parts.append(values - low[:n])
        variance += (1 / n - 1 / k) * gap(values, low, beyond, worst)
    mean = math.fsum(float(part.mean()) for part in parts)
    shares = np.zeros(m)  # of each example in the error; nothing of what all examples are known of
    for part in parts:
        shares[: len(part)] += _apart(part) / len(part) * math.sqrt(1 - len(part) / total)
    squares = float(shares @ shares)
    skewness = abs(float((shares**3).sum())) / squares**1.5 if squares else math.inf
    # What is taken to be beyond the sample says nothing of values that are none, as the answers in a regression.
    stderr = math.sqrt(variance) * widening(skewness) if math.isfinite(mean) else math.nan
    groups: Values = np.bincount(np.arange(m) % GROUPS, shares, GROUPS).astype(float)
    length = float(np.linalg.norm(groups))
    return Estimate(mean, stderr, skewness, groups * (stderr / length) if length else groups)


def needed(values: Values, total: int, wanted: float, control: Values | None = None) -> float:
    """Examples after which the standard error should be `wanted`; infinite if the control variate is too uncertain."""
    if control is None:
        variance = sample_variance(values)
        return total * variance / (total * wanted**2 + variance) if variance else 0.0
    m, residual = len(control), sample_variance(values - control[: len(values)])
    left = wanted**2 - (1 / m - 1 / total) * sample_variance(values) + residual / m
    return residual / left if left > 0 else math.inf


def widening(skewness: float) -> float:
    """By what the standard error is multiplied, so that intervals of 1.96 of it hold as often as they say.

    The interval of t needs 1 + 1.08 skewness^2 (Edgeworth's expansion; Hall 1992). The rest is for samples that stop
    early because they happen to have small losses: found by simulation (benchmarks/coverage.py).
    """
    return 1 + FOR_STOPPING * min(skewness, LARGEST_SKEWNESS)


def gap(values: Values, low: Values, beyond: Beyond = NOTHING, worst: float = 0.0) -> float:
    """S2(l - b); larger where what was seen in both precisions varies less than what was seen in the low one."""
    n = len(values)
    few, many = sample_variance(low[:n]), sample_variance(low)
    if worst:
        beyond = Beyond(beyond.squares + worst, beyond.examples + 1)
    return sample_variance(values - low[:n], beyond) * (max(1.0, many / few) if few else 1.0)


def _precise_variance(values: Values, own: Values, beyond: Beyond) -> float:
    """S2 in full precision, from k in a low one: times what the first n say that it is more in full precision."""
    few = sample_variance(own[: len(values)], beyond)
    return sample_variance(own, beyond) * (max(1.0, sample_variance(values, beyond) / few) if few else 1.0)


def sample_variance(values: Values, beyond: Beyond = NOTHING) -> float:
    """S2, with n - 1 below the sum of squares, and what is beyond the sample."""
    apart = _apart(values)
    return (float(apart @ apart) + beyond.squares) / (len(values) - 1 + beyond.examples)


def _apart(values: Values) -> Values:
    """Values minus their mean; exactly zero where all are equal but for the rounding of that mean."""
    apart = values - values.mean()
    return apart if np.abs(apart).max() > _ROUNDING * np.abs(values).max() else np.zeros_like(apart)
