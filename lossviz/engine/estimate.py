"""How long a training will take, from a few steps that are really computed."""

import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch

from lossviz.data.split import Split
from lossviz.data.streamed import StreamedSplit
from lossviz.engine.group import Group
from lossviz.engine.objective import Objective
from lossviz.engine.setup import Setup
from lossviz.engine.share import share_of
from lossviz.engine.stepper import Stepper
from lossviz.engine.training import evaluated_splits, update

STEPS = 3
BATCHES = 4


def seconds_of_training(setup: Setup, steps: int) -> float:
    """Seconds that so many steps of a training and the evaluations among them will take on this device, in one process.

    A few of both are computed, with a freshly initialised network. Nothing is written.
    """
    objective = setup.objective()
    stepper, share = Stepper(setup.train, objective.parameters), share_of(setup, Group(), objective.model)

    def take(step: int) -> None:
        loss, *_ = update(objective, stepper, share, step)
        loss.item()  # waits for the device

    of_step = [_seconds(partial(take, step)) for step in range(STEPS + 1)][1:]  # the first is warming up
    of_evaluation = sum(_seconds_of_evaluation(setup, objective, split) for split in evaluated_splits(setup).values())
    return steps * median(of_step) + math.ceil(steps / setup.train.eval_every) * of_evaluation


def _seconds_of_evaluation(setup: Setup, objective: Objective, split: Split | StreamedSplit) -> float:
    if not len(split):
        return 0.0
    size = setup.backend.evaluation_batch
    # A whole batch: a single file may be a damaged one that is left out.
    first, few = (_first(split, batches * size) for batches in (1, BATCHES))
    objective.evaluate(first.batches(size))  # what is done once
    return _seconds(lambda: objective.evaluate(few.batches(size))) * len(split) / len(few)


def _first(split: Split | StreamedSplit, count: int) -> Split | StreamedSplit:
    return split.take(torch.arange(min(count, len(split)), device=split.targets.device))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
