"""The plan of a training for --dry-run: what it would do, cost and write; refuses what is impossible."""

import math
from collections.abc import Callable, Collection
from itertools import count
from pathlib import Path

import torch
from torch import nn

from lossviz.config.train import Train
from lossviz.data.load import AnySplit
from lossviz.data.minibatches import ByStep
from lossviz.data.streamed import StreamedSplit
from lossviz.distributed.group import Group
from lossviz.distributed.ranks import ranks
from lossviz.engine.objective import Objective
from lossviz.engine.point import penalty
from lossviz.engine.state import tensors_of
from lossviz.engine.timing import Estimate, Timing, seconds_of, timed
from lossviz.models.build import count_parameters
from lossviz.progress import duration
from lossviz.results import load_results
from lossviz.setup import Setup
from lossviz.training.curves import evaluated_splits
from lossviz.training.shard import pieces_each, shard_of
from lossviz.training.stepper import Stepper


def plan_training(setup: Setup) -> list[str]:
    """Cost and files of a training."""
    config, model, size = setup.train, setup.model(), setup.train.batch_size
    shard_of(config, setup.minibatches(), Group(ranks()), model)  # refuses pieces that are too small
    evaluations = math.ceil(config.steps / config.eval_every) + 1
    checkpoints = math.ceil(config.steps / config.checkpoint_every) + 1
    examples = evaluations * sum(len(split) * split.views for split in _splits(setup))
    return [
        f"{setup.config.model.name} with {count_parameters(model):,} parameters",
        f"{config.steps:,} steps of {size:,} examples: {config.steps * size:,} forward and backward",
        f"{evaluations:,} evaluations: {examples:,} examples forward",
        f"writes train.nc, {checkpoints:,} checkpoints of {_megabytes(_bytes(model))} and resume.pt of "
        f"{_megabytes(_bytes(model) + _moments(config) * _trainable_bytes(model))}",
    ]


def time_training(setup: Setup, fresh: bool = False) -> list[str]:
    """Estimate the training time from a few examples; empty if training is finished or distributed.

    Args:
        setup: the variant.
        fresh: whether what is there will be discarded.
    """
    left = setup.train.steps - (0 if fresh else _steps_there(setup.run.train_file))
    if left <= 0 or not ranks().alone:
        return []
    seconds, measured = time_of_training(
        left,
        setup.train,
        setup.objective(eager=True),
        setup.minibatches(),
        _splits(setup),
        setup.backend.evaluation_batch,
    )
    return [f"about {duration(seconds)} on this device for {left:,} steps and their evaluations, {measured}"]


def time_of_training(
    steps: int,
    train: Train,
    objective: Objective,
    minibatches: ByStep,
    splits: Collection[AnySplit],
    batch: int,
) -> Estimate:
    """Estimate the time of a number of steps and their evaluations on this device, in one process.

    A part of a step and of an evaluation is computed for a few seconds, in small batches, whatever the configured
    sizes. Nothing is written.

    Args:
        steps: how many.
        train: the `train` section.
        objective: the loss of a new network that is not compiled; it is trained a little.
        minibatches: by step.
        splits: those that are evaluated.
        batch: examples that an evaluation computes together.
    """
    stepper = Stepper(train, objective.parameters)
    size = train.batch_size
    piece = math.ceil(size / pieces_each(train, world=1))
    of_piece = timed(_differentiation(objective, minibatches), piece)
    of_step = of_piece.seconds * size / piece + _seconds_of_update(objective, stepper)
    of_splits = [_time_of_evaluation(objective, split, batch) for split in splits if len(split)]
    evaluations = math.ceil(steps / train.eval_every)
    seconds = steps * of_step + evaluations * sum(each.seconds for each in of_splits)
    examined, evaluated = sum(each.examples for each in of_splits), sum(map(len, splits))
    if of_piece.examples == size and examined == evaluated:
        return Estimate(seconds, "by a few that were timed")
    return Estimate(
        seconds,
        f"extrapolated from {of_piece.examples:,} of the {size:,} examples of a step and {examined:,} of the "
        f"{evaluated:,} of an evaluation",
    )


def _splits(setup: Setup) -> Collection[AnySplit]:
    return evaluated_splits(setup.data, setup.train.eval_examples, setup.config.seed).values()


def _differentiation(objective: Objective, minibatches: ByStep) -> Callable[[int], None]:
    """Loss and gradient over some examples of a minibatch, of another step every time."""
    steps = count()

    def differentiate(examples: int) -> None:
        batch = minibatches(next(steps), (0, math.ceil(minibatches.batch_size / examples)))
        objective.model.train()
        objective.differentiate(batch).loss.item()  # waits for the device

    return differentiate


def _seconds_of_update(objective: Objective, stepper: Stepper) -> float:
    """The cost of a step that does not depend on its examples: the optimiser and the penalty."""
    gradient = [torch.zeros_like(parameter) for parameter in objective.parameters]

    def update() -> None:
        penalty(objective.parameters, stepper.config.penalty_decay).item()
        stepper.take(gradient, 0)
        penalty(objective.parameters[:1], 1.0).item()  # waits for the device

    update()
    return seconds_of(update)


def _time_of_evaluation(objective: Objective, split: AnySplit, batch: int) -> Timing:
    def evaluate(examples: int) -> None:
        few = split.take(torch.arange(examples, device=split.device))
        objective.evaluate(few.batches(batch))

    # Ten crops of an image cost ten passes; of one image alone, the file may be a damaged one that is left out.
    return timed(evaluate, len(split), least=2 if isinstance(split, StreamedSplit) else 4)


def _steps_there(file: Path) -> int:
    """Steps that train.nc recorded; a resumed training may begin a little before the last of them."""
    return int(load_results(file).sizes["step"]) if file.exists() else 0


def _bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(model).values())


def _trainable_bytes(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)


def _moments(config: Train) -> int:
    """Numbers that the optimiser remembers of every parameter."""
    return int(config.momentum > 0) if config.optimizer == "sgd" else 2


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2g} MB" if count < 10e6 else f"{count / 1e6:,.0f} MB"
