"""The weight layers that a probe measures."""

import torch

from lossviz.config.measures import MEASURES
from lossviz.errors import refuse
from lossviz.models.layers import WeightLayer, pick, weight_layers
from lossviz.seeding import seeded
from lossviz.setup import Setup
from lossviz.user_code.loader import explained

# BatchNorm needs two; with more, statistics of nearly equal examples do not divide by nearly zero.
EXAMPLES = 4


def probed_layers(setup: Setup) -> list[WeightLayer]:
    """The layers of `probe.layers`, found by one forward pass of a few examples through a network made for it.

    The pass is in training mode, in which measures are taken.

    Raises:
        RequestError: the network calls fewer weight layers, or `shift` is wanted of one that is frozen.
        WorkError: a person's own network fails.
    """
    config = setup.config.probe
    if not any(MEASURES[measure].layers for measure in config.measures):
        return []
    objective = setup.objective(eager=True)
    inputs, _ = next(iter(setup.data.train.batches(EXAMPLES)))
    with seeded(objective.device, 0), torch.no_grad(), explained("while the network is run to find its layers"):
        found = weight_layers(objective.model.train(), inputs)
    layers = pick(found, config.layers)
    frozen = [layer for layer in layers if not layer.parameters]
    if frozen and "shift" in config.measures:
        names = ", ".join(f"{layer.number} ({layer.name})" for layer in frozen)
        trainable = [str(layer.number) for layer in found if layer.parameters]
        refuse(
            "probe.layers",
            f"shift needs layers that are trained; frozen: {names}",
            given=config.layers,
            accepted=f"{', '.join(trainable)}; or probe.measures without shift",
        )
    return layers
