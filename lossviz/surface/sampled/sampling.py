"""How many examples a point takes, by an accuracy; knows arrays, and neither networks nor files.

All points go through the examples in one random order, and each takes a prefix of it, which grows until its estimate
(lossviz.surface.sampled.estimator) is good enough. docs/accuracy.md has the rules, and how often the intervals hold.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossviz.surface.sampled.estimator import GROUPS, LARGEST_SKEWNESS, Beyond, Estimate, Values, needed, widening
from lossviz.surface.sampled.point import NEARLY_ALL, Oracle, PointSample, finite, whole_batches

# Examples that every point sees; its size and those of later looks are whole batches of the usual 64.
PILOT = 128
# The sample that says how many examples are needed is at most two thirds of those that are taken, or says it by far:
# a sample that happens to have small losses also has a small variance (Hall, Annals of Statistics 1981).
SAFE, EXTENSION, LARGEST_STEP, MARGIN = 0.5, 1.5, 4.0, 1.1
# Of n examples that were like that, 3 / n of all may still be otherwise, at 95 % (the rule of three).
RULE_OF_THREE = 3.0
# As if four more were seen, half of them wrong (Agresti and Coull 1998): that none was wrong is not an error of 0.
FOUR_ANSWERS = Beyond(2.0, 4)
# Half of the squared error is left to the points that are interpolated from.
SHARE_OF_CONTROL = 0.5
# A control variate is taken where it needs less than this of the examples without one: chance favours the best.
PAYS = 0.8
# Where so many times more examples are needed, a low precision pays.
WORTH_A_LOW_PRECISION = 4


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
class Sample:
    """What is known of a point.

    Attributes:
        loss: the mean loss.
        wrong: the share of wrong answers.
        values: (examples, 2), of all examples that were seen, in a low precision where that was taken.
        precise: how many of these were also seen in full precision; the mean is exact if these are all examples.
    """

    loss: Estimate
    wrong: Estimate
    values: Values
    precise: int


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
        oracle: evaluates examples.
        total: how many there are, at least `PILOT`.
        accuracy: of the loss.
        controls: control variates (m, 2); the best is taken, or none.
        low: the same as `oracle` in a low precision, which is cheaper.
        unseen_loss: of an example of which the network knows nothing; guards against the hard ones among many easy
            ones that a small sample does not see.
    """
    seen = PointSample(oracle, low, total, oracle(np.arange(PILOT)))
    last = False
    while True:
        if not finite(seen.values):
            return _not_finite(seen.values)
        if not finite(seen.own):
            seen.leave_low_precision()
            continue
        k, control = len(seen.own), _best(controls, seen.own, total, accuracy)
        loss = seen.mean_loss(control)
        wanted = accuracy.at(loss.mean)
        least = fewest(wanted, total, unseen_loss)
        trusted = loss.skewness <= accuracy.skewness and k >= least and (last or loss.stderr**2 <= SAFE * wanted**2)
        if len(seen.values) == total or (loss.stderr <= wanted and trusted):
            return Sample(loss, seen.share_of_wrong(control, FOUR_ANSWERS), seen.own, seen.precise)
        if k == total:
            seen.correct(wanted, total, EXTENSION * len(seen.values))
            continue
        aim = max(_aim(seen.own, total, wanted, control, loss.skewness, accuracy.skewness), least)
        if aim >= WORTH_A_LOW_PRECISION * k and seen.try_low_precision():
            continue
        stop = _look(aim, k, total)
        last = stop < total and aim <= LARGEST_STEP / 2 * k
        seen.look(stop)
        seen.correct(wanted, aim)


def fewest(wanted: float, total: int, unseen_loss: float) -> float:
    """Examples without which the standard error `wanted` is not believed, whatever they say: the rule of three."""
    return min(RULE_OF_THREE * unseen_loss / wanted, total) if wanted else total


def _aim(
    own: Values, total: int, wanted: float, control: Values | None, skewness: float, largest_skewness: float
) -> float:
    """Examples after which standard error and skewness should be as wanted."""
    if not (math.isfinite(skewness) and wanted):
        return total
    by_error = needed(own[:, 0], total, wanted / widening(skewness), None if control is None else control[:, 0])
    by_skewness = len(own) * max(skewness / largest_skewness, 1.0) ** 2
    return min(max(MARGIN * by_error, by_skewness), total)


def _look(aim: float, k: int, total: int) -> int:
    """Where to look next: not much further than is known to be needed, and not so near that chance decides."""
    stop = min(max(aim, EXTENSION * k), LARGEST_STEP * k)
    return whole_batches(stop, total) if stop < NEARLY_ALL * total else total


def _best(controls: Sequence[Values], own: Values, total: int, accuracy: Accuracy) -> Values | None:
    """The control variate that needs the fewest examples, if that is clearly fewer than without one."""
    losses = own[:, 0]
    wanted = accuracy.at(float(losses.mean()))
    best, least = None, PAYS * needed(losses, total, wanted) if wanted else 0.0
    for control in controls:
        if len(control) >= len(own):
            examples = needed(losses, total, wanted, control[:, 0])
            if examples < least and examples <= len(control):
                best, least = control, examples
    return best


def _not_finite(values: Values) -> Sample:
    """The mean over all is not finite either, whatever the others are."""
    nothing = np.full(GROUPS, math.nan)
    loss, wrong = (Estimate(float(column.mean()), math.nan, math.nan, nothing) for column in values.T)
    return Sample(loss, wrong, values, len(values))
