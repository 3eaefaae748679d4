"""Estimate the training time from a few examples that are really computed."""

import math
from collections.abc import Callable
from itertools import count

import torch

from lossviz.data.minibatches import Minibatch
from lossviz.data.split import Split
from lossviz.data.streamed import StreamedSplit
from lossviz.engine.objective import Objective
from lossviz.engine.point import penalty
from lossviz.engine.timing import Estimate, Timing, seconds_of, timed
from lossviz.setup import Setup
from lossviz.training.loop import evaluated_splits
from lossviz.training.shard import pieces_each
from lossviz.training.stepper import Stepper


def time_of_training(setup: Setup, steps: int) -> Estimate:
    """Estimate the time of a number of steps and their evaluations on this device, in one process.

    A part of a step and of an evaluation is computed, with a freshly initialised network that is not compiled: for a
    few seconds, in small batches, whatever the configured sizes. Nothing is written.
    """
    objective = setup.objective(eager=True)
    stepper = Stepper(setup.train, objective.parameters)
    size = setup.train.batch_size
    piece = math.ceil(size / pieces_each(setup.train, world=1))
    of_piece = timed(_differentiation(setup, objective), piece)
    of_step = of_piece.seconds * size / piece + _seconds_of_update(objective, stepper)
    of_splits = {
        name: _time_of_evaluation(setup, objective, split)
        for name, split in evaluated_splits(setup).items()
        if len(split)
    }
    evaluations = math.ceil(steps / setup.train.eval_every)
    seconds = steps * of_step + evaluations * sum(each.seconds for each in of_splits.values())
    examined = sum(each.examples for each in of_splits.values())
    evaluated = sum(len(split) for split in evaluated_splits(setup).values())
    if of_piece.examples == size and examined == evaluated:
        return Estimate(seconds, "by a few that were timed")
    return Estimate(
        seconds,
        f"extrapolated from {of_piece.examples:,} of the {size:,} examples of a step and {examined:,} of the "
        f"{evaluated:,} of an evaluation",
    )


def _differentiation(setup: Setup, objective: Objective) -> Callable[[int], None]:
    """Loss and gradient over some examples of a minibatch, of another step every time."""
    minibatches, steps = setup.minibatches(), count()

    def differentiate(examples: int) -> None:
        batch: Minibatch = minibatches(next(steps), (0, math.ceil(setup.train.batch_size / examples)))
        objective.model.train()
        objective.differentiate(batch).loss.item()  # waits for the device

    return differentiate


def _seconds_of_update(objective: Objective, stepper: Stepper) -> float:
    """The cost of a step that does not depend on its examples: the optimiser and the penalty."""
    gradient = [torch.zeros_like(parameter) for parameter in objective.parameters]

    def update(_: int) -> None:
        penalty(objective.parameters, stepper.config.penalty_decay).item()
        stepper.take(gradient, 0)
        penalty(objective.parameters[:1], 1.0).item()  # waits for the device

    update(1)
    return seconds_of(lambda: update(1))


def _time_of_evaluation(setup: Setup, objective: Objective, split: Split | StreamedSplit) -> Timing:
    def evaluate(examples: int) -> None:
        few = split.take(torch.arange(examples, device=split.targets.device))
        objective.evaluate(few.batches(setup.backend.evaluation_batch))

    # Ten crops of an image cost ten passes; of one image alone, the file may be a damaged one that is left out.
    return timed(evaluate, len(split), least=2 if isinstance(split, StreamedSplit) else 4)
