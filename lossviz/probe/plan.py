"""The plan of a probe for --dry-run: what it would do, cost and write; refuses what is impossible."""

from lossviz.probe.command import check_training, checkpoints_to_probe, probe_steps
from lossviz.probe.layers import probed_layers
from lossviz.probe.measure import load_measures
from lossviz.setup import Setup
from lossviz.training.plan import plan_training


def plan_along_training(setup: Setup) -> list[str]:
    """Cost and files of probing along a training."""
    check_training(setup)
    lines = plan_training(setup)
    measured = len(probe_steps(setup.config.probe.every, setup.train.steps))
    return [*lines[:-1], _cost_of_measurements(setup, measured), f"{lines[-1]}, and probe.nc"]


def plan_at_checkpoints(setup: Setup) -> list[str]:
    """Cost and files of probing the checkpoints of a run."""
    return [_cost_of_measurements(setup, len(checkpoints_to_probe(setup))), "writes probe.nc"]


def _cost_of_measurements(setup: Setup, count: int) -> str:
    """Say how many passes a number of measurements takes.

    Raises:
        RequestError: as `probed_layers`.
    """
    probed_layers(setup)
    config, size = setup.config.probe, setup.minibatches().batch_size
    measures = load_measures(config)
    passes = 1 + sum(measure.passes(config) for measure in measures)
    further = ", ".join(measure.further for measure in measures if measure.further)
    cost = f"{count * passes * size:,} forward and backward{f', and {further}' if further else ''}"
    return f"{count:,} measurements of {passes} passes over {size:,} examples: {cost}"
