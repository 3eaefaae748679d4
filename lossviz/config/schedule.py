"""The learning rate: a pure function of the configuration, the step and what was evaluated; without torch."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from lossviz.config.train import Cosine, Plateau, Step, Train


def learning_rate(config: Train, step: int, errors: Sequence[float] = ()) -> float:
    """lr(t): the schedule's; during the warm-up times (t + 1) / warmup, or warmup_lr instead.

    Args:
        config: the `train` section.
        step: t.
        errors: what was `judged` in all evaluations up to step t, for the schedule `plateau`.
    """
    if config.warmup_lr is not None and step < config.warmup:
        return config.warmup_lr
    rate = config.lr
    if isinstance(config.schedule, Step):
        rate *= config.schedule.gamma ** bisect_right(config.schedule.milestones, step)
    elif isinstance(config.schedule, Cosine):
        rate *= (1 + math.cos(math.pi * step / config.steps)) / 2
    elif isinstance(config.schedule, Plateau):
        rate *= config.schedule.gamma ** plateaus(config.schedule, errors)
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def judged(errors: Sequence[float], losses: Sequence[float]) -> Sequence[float]:
    """What `plateau` goes by: the error of every evaluation, or the loss where no answer is right or wrong (NaN)."""
    return losses if all(map(math.isnan, errors)) else errors


def plateaus(schedule: Plateau, errors: Sequence[float]) -> int:
    """How often `patience` evaluations in a row brought no new best: from the history.

    torch's ReduceLROnPlateau waits one evaluation longer: its patience of 1 is 2 here.

    Example:
        >>> plateaus(Plateau(kind="plateau", patience=2), errors=[9, 8, 8, 8, 7, 7, 7])
        2
    """
    best, waited, count = math.inf, 0, 0
    for error in errors:
        if error < best - schedule.min_delta:
            best, waited = error, 0
        else:
            waited += 1
        if waited == schedule.patience:
            waited, count = 0, count + 1
    return count
