"""Timing two ways of doing the same work side by side."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def paired(
    plain: Callable[[], Any],
    ours: Callable[[], Any],
    pairs: int,
    seconds: Callable[[Callable[[], Any]], float] = seconds,
) -> dict[str, float]:
    """Median seconds of both and the median of their ratio, pair by pair, after one warm-up each.

    The machine's speed drifts; a ratio of neighbours does not.
    """
    plain(), ours()
    times = [(seconds(plain), seconds(ours)) for _ in range(pairs)]
    ratios = sorted(a / b for a, b in times)
    return {
        "plain_s": statistics.median(a for a, _ in times),
        "lossviz_s": statistics.median(b for _, b in times),
        "ratio": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
        "pairs": pairs,
    }
