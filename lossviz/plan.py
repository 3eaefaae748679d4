"""What a command would do, cost and write, for --dry-run."""

import math

from lossviz.engine.setup import Setup
from lossviz.models.build import count_parameters
from lossviz.probe.measure import probe_steps
from lossviz.surface.measure import checkpoint_file


def train(setup: Setup) -> list[str]:
    """Cost and files of a training."""
    config = setup.minibatches() and setup.config.train
    assert config is not None
    parameters = count_parameters(setup.model())
    evaluations = math.ceil(config.steps / config.eval_every) + 1
    checkpoints = math.ceil(config.steps / config.checkpoint_every) + 1
    sample = len(setup.data.train) if config.eval_examples == "all" else config.eval_examples
    examples = evaluations * (sample + len(setup.data.test))
    return [
        f"{setup.config.model.name} with {parameters:,} parameters",
        f"{config.steps:,} steps of {config.batch_size:,} examples: {config.steps * config.batch_size:,} forward and backward",
        f"{evaluations:,} evaluations: {examples:,} examples forward",
        f"writes train.nc and {checkpoints:,} checkpoints of {_megabytes(4 * parameters)}",
    ]


def probe_training(setup: Setup) -> list[str]:
    """Cost and files of probing along a training."""
    config, probe = setup.config.train, setup.config.probe
    lines = train(setup)
    assert config is not None
    measured = len(probe_steps(probe.every, config.steps))
    return [*lines[:-1], *_measurements(setup, measured), f"{lines[-1]}, and probe.nc"]


def probe_checkpoints(setup: Setup) -> list[str]:
    """Cost and files of probing the checkpoints of a run."""
    return [*_measurements(setup, len(setup.run.checkpoint_steps)), "writes probe.nc"]


def surface(setup: Setup) -> list[str]:
    """Cost and files of a scan."""
    config = setup.config.surface
    points = config.x[2] * (config.y[2] if config.y else 1)
    split = setup.data.train if config.data.split == "train" else setup.data.test
    examples = len(split) if config.data.examples == "all" else config.data.examples
    return [
        f"around {checkpoint_file(setup)}",
        f"{points:,} points of {examples:,} examples: {points * examples:,} forward",
        f"writes surface-{config.name}.nc and directions-{config.name}.safetensors",
    ]


def _measurements(setup: Setup, count: int) -> list[str]:
    config, probe = setup.config.train, setup.config.probe
    assert config is not None
    passes = 1 + len(probe.lengths)
    examples = count * passes * config.batch_size
    return [f"{count:,} measurements of {passes} passes over {config.batch_size:,} examples: {examples:,} forward and backward"]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
