"""The cost of measurements, for --dry-run."""

from lossviz.engine.setup import Setup
from lossviz.probe.layers import probed_layers
from lossviz.probe.measure import load_measures


def cost_of_measurements(setup: Setup, count: int) -> str:
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
