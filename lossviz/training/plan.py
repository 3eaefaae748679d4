"""The plan of a training for --dry-run: what it would do, cost and write; refuses what is impossible."""

import math

from torch import nn

from lossviz.config.train import Train
from lossviz.distributed.group import Group
from lossviz.distributed.ranks import ranks
from lossviz.models.build import count_parameters
from lossviz.progress import duration
from lossviz.results import load_results
from lossviz.setup import Setup
from lossviz.training.estimate import time_of_training
from lossviz.training.loop import evaluated_splits
from lossviz.training.shard import shard_of


def plan_training(setup: Setup) -> list[str]:
    """Cost and files of a training."""
    config, model, size = setup.train, setup.model(), setup.train.batch_size
    shard_of(setup, Group(ranks()), model)  # refuses pieces that are too small
    evaluations = math.ceil(config.steps / config.eval_every) + 1
    checkpoints = math.ceil(config.steps / config.checkpoint_every) + 1
    examples = evaluations * sum(len(split) * split.views for split in evaluated_splits(setup).values())
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
    left = setup.train.steps - (0 if fresh else _steps_there(setup))
    if left <= 0 or not ranks().alone:
        return []
    seconds, measured = time_of_training(setup, left)
    return [f"about {duration(seconds)} on this device for {left:,} steps and their evaluations, {measured}"]


def _steps_there(setup: Setup) -> int:
    """Steps that a training recorded; going on may begin a little before the last of them."""
    file = setup.run.train_file
    return int(load_results(file).sizes["step"]) if file.exists() else 0


def _bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def _trainable_bytes(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)


def _moments(config: Train) -> int:
    """Numbers that the optimiser remembers of every parameter."""
    return int(config.momentum > 0) if config.optimizer == "sgd" else 2


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2g} MB" if count < 10e6 else f"{count / 1e6:,.0f} MB"
