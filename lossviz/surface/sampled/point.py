"""One point's losses in full precision, and in a low one that is corrected by it: unbiased, whatever the low one says.

Knows arrays, and neither networks nor files. docs/accuracy.md has the rules.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossviz.surface.sampled.estimator import NOTHING, Beyond, Estimate, Values, estimate, gap, sample_variance

Oracle = Callable[[NDArray[np.intp]], Values]
"""From places in the shared order to losses and, beside them, wrong answers (0 or 1): (examples, 2)."""

# A low precision is tried where its differences vary by less than this beside what the pilot has seen.
SMALL_GAP = 0.25
# What it is corrected by has this share of the squared error, and half of all of it where all examples are seen.
SHARE_OF_GAP, SHARE_OF_WHOLE = 0.1, 0.5
# And it is known from so much of what was seen: the first examples may be easy ones, whose differences are small too.
SHARE_OF_PRECISE = 0.05
# Where more would be seen in both, a low precision that is 1.5 x as fast costs more than it saves.
MOST_PRECISE = 1 / 3
# Before that, so many of the hardest examples are seen in full precision too.
SHARE_OF_HARDEST = 0.05
# A point that needs so many takes all.
NEARLY_ALL = 0.8
BATCH = 64


@dataclass
class PointSample:
    """What was seen of a point so far, in full precision and, where that pays, in a low one.

    Attributes:
        oracle: evaluates examples.
        low: the same in a low precision; None if there is none, or it was left.
        total: how many examples there are.
        values: in full precision, of the first ones.
        rough: in the low precision, of at least as many examples; None if it is not used.
        hardest: in full precision those of which the low one says the largest losses, and NaN for the others; None
            while they are not seen.
        worst: the square of the largest error that the low precision may have on one of the others.
    """

    oracle: Oracle
    low: Oracle | None
    total: int
    values: Values
    rough: Values | None = None
    hardest: Values | None = None
    worst: float = 0.0

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

    def mean_loss(self, control: Values | None) -> Estimate:
        """By a control variate or none."""
        return self._mean(0, control, worst=self.worst)

    def share_of_wrong(self, control: Values | None, beyond: Beyond) -> Estimate:
        """The share of wrong answers, likewise."""
        return self._mean(1, control, beyond)

    def _mean(self, column: int, control: Values | None, beyond: Beyond = NOTHING, worst: float = 0.0) -> Estimate:
        low = None if self.rough is None else self.own[:, column]
        other = None if control is None else control[:, column]
        return estimate(self.values[:, column], self.total, low, other, beyond, worst)

    def look(self, stop: int) -> None:
        """See the examples before `stop`, in the low precision if that is used."""
        if self.rough is None or self.low is None:
            self.values = _longer(self.values, self.oracle, stop)
        else:
            self.rough = _longer(self.rough, self.low, stop)
            if self.hardest is not None:
                self.hardest = _longer(self.hardest, lambda places: np.full((len(places), 2), np.nan), stop)

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
        self.worst = 0.0

    def correct(self, wanted: float, aim: float, least: float = 0.0) -> None:
        """See as many in full precision as correct the low one, and at least some; leave it where that does not pay.

        They are at most a third of what was seen, and what is missing comes with the next examples: the first ones say
        little of the differences of the hard ones.
        """
        if self.rough is None or not finite(self.rough):
            return
        k = len(self.rough)
        n = whole_batches(max(least, SHARE_OF_PRECISE * k), k)
        self.values = _longer(self.values, self.oracle, n)
        if self.hardest is not None:
            self._see_hardest()
        # Of all examples, the correction is the whole error, and is decided when they have been seen.
        later = k < self.total and aim >= NEARLY_ALL * self.total
        if self.rough is None or later or not finite(self.values):
            return
        allowed, most = (SHARE_OF_WHOLE if k == self.total else SHARE_OF_GAP) * wanted**2, MOST_PRECISE * max(aim, k)
        known = len(self.values) >= SHARE_OF_PRECISE * max(aim, k)
        if known and self._needs(allowed) > most and self.hardest is None:
            self._see_hardest()
        if known and self._needs(allowed) > most:
            self.leave_low_precision()
        elif self.rough is not None:
            more = whole_batches(min(self._needs(allowed), MOST_PRECISE * k), k)
            self.values = _longer(self.values, self.oracle, more)

    def _needs(self, allowed: float) -> float:
        """Examples in full precision after which the squared error of the correction is as allowed, or those seen."""
        n = len(self.values)
        return max(gap(self.values[:, 0], self.own[:, 0], worst=self.worst) / allowed if allowed else self.total, n)

    def _see_hardest(self) -> None:
        """See a share in full precision whose losses are the largest in the low one; they have the largest errors.

        Which these are depends on all that were seen, and not on their order, so those of the others that come first
        are still a random part of them. As an error of few of those would not be seen, one is added: in proportion as
        large as the largest that was, on the largest loss that is left.
        """
        assert self.rough is not None
        known = np.full_like(self.rough, np.nan)
        if self.hardest is not None:
            known[:] = self.hardest
        known[: len(self.values)] = self.values
        count = math.ceil(SHARE_OF_HARDEST * len(known))
        places = np.sort(np.argsort(-self.rough[:, 0], kind="stable")[:count])
        new = places[np.isnan(known[places, 0])]
        known[new] = self.oracle(new)
        losses, rough = known[places, 0], self.rough[places, 0]
        if not (finite(known[new]) and rough.min() > 0):
            self.leave_low_precision()
            return
        self.hardest = np.full_like(self.rough, np.nan)
        self.hardest[places] = known[places]
        self.worst = float(np.abs(losses / rough - 1).max() * rough.min()) ** 2


def whole_batches(examples: float, most: int) -> int:
    """Whole batches."""
    return min(math.ceil(examples / BATCH) * BATCH, most)


def finite(values: Values) -> bool:
    """Whether the losses are; of an own loss, or of vectors, no answer is right or wrong."""
    return bool(np.isfinite(values[:, 0]).all())


def _is_close(rough: Values, values: Values) -> bool:
    if not finite(rough):
        return False
    return sample_variance((values - rough)[:, 0]) <= SMALL_GAP * sample_variance(values[:, 0])


def _longer(values: Values, oracle: Oracle, stop: int) -> Values:
    return np.concatenate([values, oracle(np.arange(len(values), stop))]) if stop > len(values) else values
