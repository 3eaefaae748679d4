"""How many examples a point takes, by an accuracy; knows arrays, and neither networks nor files.

All points go through the examples in one random order, and each takes a prefix of it, which grows until its estimate
(lossviz.surface.estimator) is good enough. docs/accuracy.md has the rules, and how often the intervals hold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossviz.surface.estimator import (
    GROUPS,
    LARGEST_SKEWNESS,
    Estimate,
    Values,
    estimate,
    gap,
    needed,
    sample_variance,
    widening,
)

Oracle = Callable[[NDArray[np.intp]], Values]
"""From places in the shared order to losses and, beside them, wrong answers (0 or 1): (examples, 2)."""

# Examples that every point sees; its size and those of later looks are whole batches of the usual 64.
PILOT = 128
# The sample that says how many examples are needed is at most two thirds of those that are taken, or says it by far:
# a sample that happens to have small losses also has a small variance (Hall, Annals of Statistics 1981).
SAFE, EXTENSION, LARGEST_STEP, MARGIN = 0.5, 1.5, 4.0, 1.1
# Of n examples that were like that, 3 / n of all may still be otherwise, at 95 % (the rule of three).
RULE_OF_THREE = 3.0
# As if four more were seen, half of them wrong (Agresti and Coull 1998): that none was wrong is not an error of 0.
UNSEEN = 2.0
# Half of the squared error is left to the points that are interpolated from.
SHARE_OF_CONTROL = 0.5
# A low precision is tried where its differences vary by less than this beside what the pilot has seen.
SMALL_GAP = 0.25
# Where so many times more examples are needed, a low precision pays; what it is corrected by has this share of the
# squared error.
WORTH_A_LOW_PRECISION = 4
SHARE_OF_GAP = 0.1
# And it is known from so much of what was seen: the first examples may be easy ones, whose differences are small too.
SHARE_OF_PRECISE = 0.05
# Where more would be seen in both, a low precision that is 1.5 x as fast costs more than it saves.
MOST_PRECISE = 1 / 3
# Before that, so many of the hardest examples are seen in full precision too.
SHARE_OF_HARDEST = 0.05
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
    seen = _Point(oracle, low, total, oracle(np.arange(PILOT)))
    last = False
    while True:
        if not _finite(seen.values):
            return _not_finite(seen.values)
        if not _finite(seen.own):
            seen.leave_low_precision()
            continue
        k, control = len(seen.own), _best(controls, seen.own, total, accuracy)
        loss = seen.mean(0, control, seen.unseen)
        wanted = accuracy.at(loss.mean)
        least = min(RULE_OF_THREE * unseen_loss / wanted, total) if wanted else total
        trusted = loss.skewness <= accuracy.skewness and k >= least and (last or loss.stderr**2 <= SAFE * wanted**2)
        if len(seen.values) == total or (loss.stderr <= wanted and trusted):
            return Sample(loss, seen.mean(1, control, UNSEEN), seen.own, seen.precise)
        if k == total:
            seen.correct(EXTENSION * len(seen.values), wanted, total)
            continue
        aim = _aim(seen.own, total, wanted, loss.skewness / accuracy.skewness, control, least)
        if aim >= WORTH_A_LOW_PRECISION * k and seen.try_low_precision():
            continue
        stop = _look(aim, k, total)
        last = stop < total and aim <= LARGEST_STEP / 2 * k
        seen.look(stop)
        seen.correct(SHARE_OF_PRECISE * stop, wanted, aim)


@dataclass
class _Point:
    """What was seen of a point so far.

    Attributes:
        oracle: evaluates examples.
        low: the same in a low precision; None if there is none, or it was left.
        total: how many examples there are.
        values: in full precision, of the first ones.
        rough: in the low precision, of at least as many examples; None if it is not used.
        hardest: in full precision those of which the low one says the largest losses, and NaN for the others; None
            while they are not seen.
        unseen: the square of the largest error that the low precision may have on one of the others.
    """

    oracle: Oracle
    low: Oracle | None
    total: int
    values: Values
    rough: Values | None = None
    hardest: Values | None = None
    unseen: float = 0.0

    @property
    def own(self) -> Values:
        """All that were seen: the hardest in full precision, if that is known."""
        if self.rough is None:
            return self.values
        return self.rough if self.hardest is None else np.where(np.isnan(self.hardest), self.rough, self.hardest)

    @property
    def precise(self) -> int:
        """How many were seen in full precision."""
        hardest = 0 if self.hardest is None else int((~np.isnan(self.hardest[len(self.values) :, 0])).sum())
        return len(self.values) + hardest

    def mean(self, column: int, control: Values | None, unseen: float = 0.0) -> Estimate:
        """The mean loss (column 0) or share of wrong answers (1), by a control variate or none."""
        low = None if self.rough is None else self.own[:, column]
        other = None if control is None else control[:, column]
        return estimate(self.values[:, column], self.total, low, other, unseen)

    def look(self, stop: int) -> None:
        """See the examples before `stop`, in the low precision if that is used."""
        if self.rough is None or self.low is None:
            self.values = _longer(self.values, self.oracle, stop)
        else:
            self.rough = _longer(self.rough, self.low, stop)

    def try_low_precision(self) -> bool:
        """Use the low precision from here on, where there is one and it is close; whether that was new."""
        if self.low is None or self.rough is not None:
            return False
        rough = self.low(np.arange(len(self.values)))
        if _is_close(rough, self.values):
            self.rough = rough
            return True
        self.low = None
        return False

    def leave_low_precision(self) -> None:
        """See all in full precision."""
        self.values = _longer(self.values, self.oracle, len(self.own))
        self.rough = self.low = self.hardest = None
        self.unseen = 0.0

    def correct(self, least: float, wanted: float, aim: float) -> None:
        """See as many in full precision as correct the low one, and at least some; leave it where that does not pay.

        They are at most a third of what was seen, and what is missing comes with the next examples: the first ones say
        little of the differences of the hard ones.
        """
        if self.rough is None or not _finite(self.rough):
            return
        k, n = len(self.rough), _whole(least, len(self.rough))
        self.values = _longer(self.values, self.oracle, n)
        if self.hardest is not None:
            self._see_hardest()
        # Of all examples, the correction is the whole error, and is decided when they have been seen.
        if not _finite(self.values) or (k < self.total and aim >= NEARLY_ALL * self.total):
            return
        allowed, most = (SAFE if k == self.total else SHARE_OF_GAP) * wanted**2, MOST_PRECISE * max(aim, k)
        known = len(self.values) >= SHARE_OF_PRECISE * max(aim, k)
        if known and self._needs(allowed) > most and self.hardest is None:
            self._see_hardest()
        if known and self._needs(allowed) > most:
            self.leave_low_precision()
        elif self.rough is not None:
            more = _whole(min(self._needs(allowed), MOST_PRECISE * k), k)
            self.values = _longer(self.values, self.oracle, more)

    def _needs(self, allowed: float) -> float:
        """Examples in full precision after which the squared error of the correction is as allowed, or those seen."""
        n = len(self.values)
        return max(gap(self.values[:, 0], self.own[:, 0], self.unseen) / allowed if allowed else self.total, n)

    def _see_hardest(self) -> None:
        """See a share in full precision whose losses are the largest in the low one; they have the largest errors.

        Which these are depends on all that were seen, and not on their order, so those of the others that come first
        are still a random part of them. As an error of few of those would not be seen, one is added: in proportion as
        large as the largest that was, on the largest loss that is left.
        """
        assert self.rough is not None
        known = np.full_like(self.rough, np.nan)
        if self.hardest is not None:
            known[: len(self.hardest)] = self.hardest
        known[: len(self.values)] = self.values
        count = math.ceil(SHARE_OF_HARDEST * len(known))
        places = np.sort(np.argsort(-self.rough[:, 0], kind="stable")[:count])
        new = places[np.isnan(known[places, 0])]
        known[new] = self.oracle(new)
        losses, rough = known[places, 0], self.rough[places, 0]
        if not (_finite(known[new]) and rough.min() > 0):
            self.leave_low_precision()
            return
        self.hardest = np.full_like(self.rough, np.nan)
        self.hardest[places] = known[places]
        self.unseen = float(np.abs(losses / rough - 1).max() * rough.min()) ** 2


def _aim(own: Values, total: int, wanted: float, skewness: float, control: Values | None, least: float) -> float:
    """Examples that should be enough; `skewness` is relative to the largest one that is allowed."""
    if not (math.isfinite(skewness) and wanted):
        return total
    inside = wanted / widening(skewness * LARGEST_SKEWNESS)
    by_error = needed(own[:, 0], total, inside, None if control is None else control[:, 0])
    by_skewness = len(own) * skewness**2 if skewness > 1 else 0
    return min(max(MARGIN * by_error, by_skewness, least), total)


def _look(aim: float, k: int, total: int) -> int:
    """Where to look next: not much further than is known to be needed, and not so near that chance decides."""
    stop = min(max(aim, EXTENSION * k), LARGEST_STEP * k)
    return _whole(stop, total) if stop < NEARLY_ALL * total else total


def _whole(examples: float, most: int) -> int:
    """Whole batches."""
    return min(math.ceil(examples / BATCH) * BATCH, most)


def _longer(values: Values, oracle: Oracle, stop: int) -> Values:
    return np.concatenate([values, oracle(np.arange(len(values), stop))]) if stop > len(values) else values


def _finite(values: Values) -> bool:
    """Whether the losses are; of an own loss, or of vectors, no answer is right or wrong."""
    return bool(np.isfinite(values[:, 0]).all())


def _is_close(rough: Values, values: Values) -> bool:
    if not _finite(rough):
        return False
    return sample_variance((values - rough)[:, 0]) <= SMALL_GAP * sample_variance(values[:, 0])


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


def _not_finite(values: Values) -> Sample:
    """The mean over all is not finite either, whatever the others are."""
    nothing = np.full(GROUPS, math.nan)
    loss, wrong = (Estimate(float(column.mean()), math.nan, math.nan, nothing) for column in values.T)
    return Sample(loss, wrong, values, len(values))
