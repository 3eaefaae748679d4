"""The time that much work takes, estimated from a little of it; for --dry-run."""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

# For one kind of work, so that a dry run of several variants answers in well under a minute on any machine.
SECONDS = 3.0
# Even the first call is taken as it is where it takes longer.
SECONDS_AT_MOST = 10.0
GROWTH = 4
ROUNDS = 3


class Timing(NamedTuple):
    """How long some work takes.

    Attributes:
        seconds: for all of it.
        examples: of how many examples it was measured; fewer than all where those would take too long.
    """

    seconds: float
    examples: int


class Estimate(NamedTuple):
    """How long a command will take.

    Attributes:
        seconds: for all of it.
        measured: by which examples, in words.
    """

    seconds: float
    measured: str


def timed(work: Callable[[int], object], examples: int, least: int = 4) -> Timing:
    """How long `work(examples)` takes: measured, or extrapolated from fewer examples where it would take too long.

    The number of examples grows until the next one would take longer than `SECONDS`, so that what does not depend on
    it hardly counts.

    Args:
        work: does it for a number of examples, and returns when it is done.
        examples: how many there are.
        least: how many to begin with.
    """
    end = time.perf_counter() + SECONDS
    count = min(least, examples)
    found = [seconds_of(partial(work, count))]
    if found[0] < SECONDS_AT_MOST:  # with what is done once
        found = [seconds_of(partial(work, count))]
    while count < examples:
        more = min(GROWTH * count, examples)
        if time.perf_counter() + found[-1] * more / count > end:
            break
        count = more
        found = [seconds_of(partial(work, count))]
    while len(found) < ROUNDS and time.perf_counter() + found[-1] <= end:
        found.append(seconds_of(partial(work, count)))
    return Timing(median(found) * examples / count, count)


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that some work takes now."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
