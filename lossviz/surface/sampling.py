"""The mean loss at a point from as many examples as an accuracy needs; knows arrays, and neither networks nor files.

All points go through the examples in one random order, and each takes a prefix of it. The estimator is a difference
estimator on nested prefixes (Cochran, Sampling Techniques, 3rd ed. 1977, sections 7.2 and 12.2; with more levels it is
the multilevel one of Giles, Acta Numerica 2015): docs/accuracy.md has the formulas, and how often its intervals hold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Oracle = Callable[[int, int], Values]
"""From a range of places in the shared order to losses and, beside them, wrong answers (0 or 1): (examples, 2)."""

# Examples that every point sees; its size and those of later looks are whole batches of the usual 64.
PILOT = 128
# An estimate of which a few examples are the most part has intervals that hold too seldom. Cochran (section 2.15) takes
# n > 25 * skewness^2 examples, after which this is the skewness of the mean.
LARGEST_SKEWNESS = 0.2
FOR_STOPPING = 0.75
# The sample that says how many examples are needed is at most two thirds of those that are taken, or says it by far:
# a sample that happens to have small losses also has a small variance (Hall, Annals of Statistics 1981).
SAFE, EXTENSION, LARGEST_STEP, MARGIN = 0.5, 1.5, 4.0, 1.1
# Of n examples that were like that, 3 / n of all may still be otherwise, at 95 % (the rule of three).
RULE_OF_THREE = 3.0
# The places of the order are dealt to so many groups, in which estimates are compared.
GROUPS = 32
# As if four more were seen, half of them wrong (Agresti and Coull 1998): that none was wrong is not an error of 0.
UNSEEN = 2.0
# Half of the squared error is left to the points that are interpolated from.
SHARE_OF_CONTROL = 0.5
# A low precision helps where its differences vary by less than this beside what is sampled with it.
SMALL_GAP = 0.04
# Where so many times more examples are needed, a low precision pays; what it is corrected by has this share of the
# squared error.
WORTH_A_LOW_PRECISION = 4
SHARE_OF_GAP = 0.1
# And it is known from so much of what was seen: the first examples may be easy ones, whose differences are small too.
SHARE_OF_PRECISE = 0.05
# A control variate is taken where it needs less than this of the examples without one: chance favours the best.
PAYS = 0.8
# A point that needs so many takes all.
NEARLY_ALL = 0.8
BATCH = 64


@dataclass(frozen=True)
class Accuracy:
    """The standard error that a loss may have: `relative` times the loss, or `absolute`, whichever is larger."""

    relative: float = 0.0
    absolute: float = 0.0
    skewness: float = LARGEST_SKEWNESS

    def at(self, loss: float) -> float:
        """The standard error that is wanted of a loss."""
        return max(self.relative * abs(loss), self.absolute)

    def tighter(self, share: float) -> "Accuracy":
        """The same with a share of the squared error and of the squared skewness."""
        return Accuracy(*(each * share**0.5 for each in (self.relative, self.absolute, self.skewness)))


@dataclass(frozen=True)
class Estimate:
    """An unbiased estimate of a mean over all examples.

    Attributes:
        mean: of the values.
        stderr: its standard error, of sampling without replacement; 0 where all examples were seen.
        skewness: of the estimate, in size.
        deviations: (GROUPS,); the sum of their squares is that of the standard error, and the standard error of a
            difference of two estimates from as many examples is the norm of the difference of their deviations.
    """

    mean: float
    stderr: float
    skewness: float
    deviations: Values


@dataclass(frozen=True)
class Sample:
    """What is known of a point.

    Attributes:
        loss: the mean loss.
        wrong: the share of wrong answers.
        values: (examples, 2), of all examples that were seen, in a low precision where that was taken.
        precise: how many of these were also seen in full precision; where all of all were, the mean is exact.
    """

    loss: Estimate
    wrong: Estimate
    values: Values
    precise: int


def estimate(
    values: Values, total: int, low: Values | None = None, control: Values | None = None, unseen: float = 0.0
) -> Estimate:
    """Mean over all N examples from l_1..l_n, b_1..b_k in a low precision and a control variate c_1..c_m, n <= k <= m.

    mean_n(l - b) + mean_k(b - c) + mean_m(c), with the variance (prefixes are nested, so it telescopes)
    (1/n - 1/k) S2(l - b) + (1/k - 1/m) S2(b - c) + (1/m - 1/N) S2(b). Without b it is l; without c it is 0, and m = k.

    Args:
        values: l, in the order that all points share.
        total: N.
        low: b.
        control: c, any numbers that do not depend on the examples.
        unseen: added to sums of squares, for what might be seen in further examples.
    """
    own = values if low is None else low
    n, k = len(values), len(own)
    m = k if control is None else len(control)
    parts = [own if control is None else own - control[:k]]
    variance = (1 / m - 1 / total) * _variance(own, unseen)
    if control is not None:
        variance += (1 / k - 1 / m) * _variance(parts[0], unseen)
        parts.append(control)
    if low is not None:
        parts.append(values - low[:n])
        variance += (1 / n - 1 / k) * _gap(values, low, unseen)
    mean = math.fsum(float(part.mean()) for part in parts)
    shares = np.zeros(m)  # of each example in the error; nothing of what all examples are known of
    for part in parts:
        shares[: len(part)] += (part - part.mean()) / len(part) * math.sqrt(1 - len(part) / total)
    squares = float(shares @ shares)
    skewness = abs(float((shares**3).sum())) / squares**1.5 if squares else math.inf
    stderr = math.sqrt(variance) * _longer(skewness)
    groups: Values = np.bincount(np.arange(m) % GROUPS, shares, GROUPS).astype(float)
    length = float(np.linalg.norm(groups))
    return Estimate(mean, stderr, skewness, groups * (stderr / length) if length else groups)


def needed(values: Values, total: int, wanted: float, control: Values | None = None) -> float:
    """Examples after which the standard error should be `wanted`; infinite if the control variate is too uncertain."""
    if control is None:
        variance = _variance(values)
        return total * variance / (total * wanted**2 + variance) if variance else 0.0
    m, residual = len(control), _variance(values - control[: len(values)])
    left = wanted**2 - (1 / m - 1 / total) * _variance(values) + residual / m
    return residual / left if left > 0 else math.inf


def sample(
    oracle: Oracle,
    total: int,
    accuracy: Accuracy,
    controls: Sequence[Values] = (),
    low: Oracle | None = None,
    unseen_loss: float = 0.0,
) -> Sample:
    """See as many examples of a point as its accuracy needs, never more than all.

    Args:
        oracle: evaluates a range of examples.
        total: how many there are, at least `PILOT`.
        accuracy: of the loss.
        controls: control variates (m, 2); the best is taken, or none.
        low: the same as `oracle` in a low precision, which is cheaper.
        unseen_loss: of an example of which the network knows nothing; guards against the hard ones among many easy
            ones that a small sample does not see.
    """
    values = oracle(0, PILOT)
    rough: Values | None = None
    last = False
    while True:
        own = values if rough is None else rough
        if not np.isfinite(own[:, 0]).all():  # of losses: of an own loss, or of vectors, no answer is right or wrong
            if rough is None:
                return _not_finite(values)
            values, rough, low = _seen(values, oracle, len(rough)), None, None
            continue
        k, control = len(own), _best(controls, own, total, accuracy)
        loss = _column(0, values, total, rough, control)
        wanted = accuracy.at(loss.mean)
        least = min(RULE_OF_THREE * unseen_loss / wanted, total) if wanted else total
        trusted = loss.skewness <= accuracy.skewness and k >= least and (last or loss.stderr**2 <= SAFE * wanted**2)
        if len(values) == total or (loss.stderr <= wanted and trusted):
            return Sample(loss, _column(1, values, total, rough, control, UNSEEN), own, len(values))
        aim, precise = float(total), EXTENSION * len(values)
        if k < total:
            aim = _aim(own, total, wanted, loss.skewness / accuracy.skewness, control, least)
            if low is not None and rough is None and aim >= WORTH_A_LOW_PRECISION * k:
                rough = low(0, k)
                if not _is_close(rough, values):
                    rough = low = None
                continue
            stop = _look(aim, k, total)
            last = stop < total and aim <= LARGEST_STEP / 2 * k
            precise = SHARE_OF_PRECISE * stop
            if rough is None:
                values = _seen(values, oracle, stop)
            else:
                assert low is not None
                rough = _seen(rough, low, stop)
        if rough is not None:
            values = _corrected(_seen(values, oracle, _whole(precise, len(rough))), rough, oracle, total, wanted, aim)
            if len(values) == len(rough):
                rough = low = None


def _corrected(values: Values, rough: Values, oracle: Oracle, total: int, wanted: float, aim: float) -> Values:
    """As many examples in full precision as correct a low one; all of them where it would not pay.

    They are at most half of what was seen, and what is missing comes with the next examples: the first ones say little
    of the differences of the hard ones.
    """
    k, whole = len(rough), aim >= NEARLY_ALL * total
    # Where all examples are seen in the low precision, the correction is all of the error.
    allowed = (SAFE if whole else SHARE_OF_GAP) * wanted**2
    examples = _gap(values[:, 0], rough[:, 0]) / allowed if allowed else total
    in_the_end = total if whole else max(aim, k)
    if len(values) >= SHARE_OF_PRECISE * in_the_end and max(examples, len(values)) > in_the_end / 2:
        return _seen(values, oracle, k)
    return _seen(values, oracle, _whole(min(examples, k / 2), k))


def _aim(own: Values, total: int, wanted: float, skewness: float, control: Values | None, least: float) -> float:
    """Examples that should be enough; `skewness` is relative to the largest one that is allowed."""
    if not math.isfinite(skewness):
        return total
    inside = wanted / _longer(skewness * LARGEST_SKEWNESS)
    by_error = needed(own[:, 0], total, inside, None if control is None else control[:, 0]) if wanted else total
    by_skewness = len(own) * skewness**2 if skewness > 1 else 0
    return max(MARGIN * by_error, by_skewness, least)


def _look(aim: float, k: int, total: int) -> int:
    """Where to look next: not much further than is known to be needed, and not so near that chance decides."""
    stop = min(max(aim, EXTENSION * k), LARGEST_STEP * k)
    return _whole(stop, total) if stop < NEARLY_ALL * total else total


def _whole(examples: float, most: int) -> int:
    """Whole batches."""
    return min(math.ceil(examples / BATCH) * BATCH, most)


def _seen(values: Values, oracle: Oracle, stop: int) -> Values:
    return np.concatenate([values, oracle(len(values), stop)]) if stop > len(values) else values


def _longer(skewness: float) -> float:
    """By what the standard error is multiplied, so that intervals of 1.96 of it hold as often as they say.

    The interval of t needs 1 + 1.08 skewness^2 (Edgeworth's expansion; Hall 1992). The rest is for samples that stop
    early because they happen to have small losses: found by simulation (benchmarks/coverage.py).
    """
    return 1 + FOR_STOPPING * min(skewness, LARGEST_SKEWNESS)


def _gap(values: Values, low: Values, unseen: float = 0.0) -> float:
    """S2(l - b); larger where what was seen in both precisions varies less than what was seen in the low one."""
    n = len(values)
    few, many = _variance(low[:n]), _variance(low)
    return _variance(values - low[:n], unseen) * (max(1.0, many / few) if few else 1.0)


def _is_close(rough: Values, values: Values) -> bool:
    return bool(np.isfinite(rough[:, 0]).all()) and _variance((values - rough)[:, 0]) <= SMALL_GAP * _variance(
        values[:, 0]
    )


def _best(controls: Sequence[Values], own: Values, total: int, accuracy: Accuracy) -> Values | None:
    """The control variate that needs the fewest examples, if that is clearly fewer than without one."""
    losses = own[:, 0]
    wanted = accuracy.at(float(losses.mean()))
    best, fewest = None, PAYS * needed(losses, total, wanted) if wanted else 0.0
    for control in controls:
        if len(control) >= len(own):
            examples = needed(losses, total, wanted, control[:, 0])
            if examples < fewest and examples <= len(control):
                best, fewest = control, examples
    return best


def _column(
    column: int,
    values: Values,
    total: int,
    rough: Values | None,
    control: Values | None,
    unseen: float = 0.0,
) -> Estimate:
    low, other = (None if each is None else each[:, column] for each in (rough, control))
    return estimate(values[:, column], total, low, other, unseen)


def _not_finite(values: Values) -> Sample:
    """The mean over all is not finite either, whatever the others are."""
    nothing = np.full(GROUPS, math.nan)
    loss, wrong = (Estimate(float(column.mean()), math.nan, math.nan, nothing) for column in values.T)
    return Sample(loss, wrong, values, len(values))


def _variance(values: Values, unseen: float = 0.0) -> float:
    apart = values - values.mean()
    return (float(apart @ apart) + unseen) / (len(values) - 1 + (3 if unseen else 0))
