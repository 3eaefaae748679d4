"""What a command would do, cost and write, for --dry-run; refuses what cannot be done."""

import math

from torch import nn

from lossviz.engine.group import Group
from lossviz.engine.ranks import ranks
from lossviz.engine.setup import Setup
from lossviz.engine.share import share_of
from lossviz.models.build import count_parameters
from lossviz.models.layers import pick
from lossviz.probe.measure import checkpoints_to_probe, probe_steps
from lossviz.progress import duration
from lossviz.results import load_results
from lossviz.surface.checkpoints import scanned_checkpoint
from lossviz.surface.estimate import seconds_of_scan
from lossviz.surface.subject import scanned_splits


def train(setup: Setup) -> list[str]:
    """Cost and files of a training."""
    config, model, size = setup.train, setup.model(), setup.train.batch_size
    share_of(setup, Group(ranks()))  # refuses pieces that are too small
    evaluations = math.ceil(config.steps / config.eval_every) + 1
    checkpoints = math.ceil(config.steps / config.checkpoint_every) + 1
    examples = evaluations * (_sampled(setup) + len(setup.data.test))
    there = load_results(setup.run.train_file).sizes["step"] if setup.run.train_file.exists() else 0
    return [
        f"{setup.config.model.name} with {count_parameters(model):,} parameters",
        f"{config.steps:,} steps of {size:,} examples: {config.steps * size:,} forward and backward"
        + (f" ({there:,} steps are there)" if there else ""),
        f"{evaluations:,} evaluations: {examples:,} examples forward",
        f"writes train.nc and {checkpoints:,} checkpoints of {_megabytes(model)}",
    ]


def _sampled(setup: Setup) -> int:
    """Training examples in an evaluation."""
    examples = setup.train.eval_examples
    if examples == "none":
        return 0
    return len(setup.data.train.choose(examples, "first", setup.config.seed, "train.eval_examples"))


def probe_training(setup: Setup) -> list[str]:
    """Cost and files of probing along a training."""
    lines = train(setup)
    measured = len(probe_steps(setup.config.probe.every, setup.train.steps))
    return [*lines[:-1], _measurements(setup, measured), f"{lines[-1]}, and probe.nc"]


def probe_checkpoints(setup: Setup) -> list[str]:
    """Cost and files of probing the checkpoints of a run."""
    return [_measurements(setup, len(checkpoints_to_probe(setup))), "writes probe.nc"]


def surface(setup: Setup) -> list[str]:
    """Cost and files of a scan."""
    config = setup.config.surface
    examples, points = sum(map(len, scanned_splits(setup).values())), _points(setup)
    return [
        f"around {scanned_checkpoint(setup).path}",
        f"{points:,} points of {examples:,} examples: {points * examples:,} forward",
        f"writes surface-{config.name}.nc and directions-{config.name}.safetensors",
    ]


def surface_time(setup: Setup) -> list[str]:
    """How long a scan will take, from a few points that are computed for it."""
    file = setup.run.surface_file(setup.config.surface.name)
    known = int((load_results(file).status != 0).sum()) if file.exists() else 0
    left = max(0, _points(setup) - known)
    seconds, why = seconds_of_scan(setup, left)
    there = f" for the {left:,} that are left" if known else ""
    return [f"about {duration(seconds)}{there} on this device, by a few points that were computed ({why})"]


def _points(setup: Setup) -> int:
    config = setup.config.surface
    return config.x[2] * (config.y[2] if config.y else 1)


def _measurements(setup: Setup, count: int) -> str:
    config, size = setup.config.probe, setup.minibatches().batch_size
    layers = pick(setup.model(), config.layers)
    passes = 1 + len(config.lengths) * ("landscape" in config.measures) + len(layers) * ("shift" in config.measures)
    lanczos = ", and Hessian-vector products until Lanczos converges" if "sharpness" in config.measures else ""
    cost = f"{count * passes * size:,} forward and backward{lanczos}"
    return f"{count:,} measurements of {passes} passes over {size:,} examples: {cost}"


def _megabytes(model: nn.Module) -> str:
    return f"{sum(tensor.nbytes for tensor in model.state_dict().values()) / 1e6:.2g} MB"
