"""The weight layers that a probe measures, and their outputs before their non-linearities."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from lossviz.config.measures import MEASURES
from lossviz.config.probe import Probe
from lossviz.data.batch import Batch
from lossviz.data.load import AnySplit
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.objective import Objective
from lossviz.engine.state import steady
from lossviz.errors import refuse
from lossviz.models.layers import WeightLayer, pick, weight_layers
from lossviz.probe.measure import Step
from lossviz.seeding import generator, seeded
from lossviz.user_code.loader import explained

Description = dict[str, Tensor]

# BatchNorm needs two; with more, statistics of nearly equal examples do not divide by nearly zero.
EXAMPLES = 4


def probed_layers(config: Probe, make: Callable[[], Objective], examples: AnySplit) -> list[WeightLayer]:
    """The layers of `probe.layers`, found by one forward pass of a few examples through a network made for it.

    The pass is in training mode, in which measures are taken.

    Args:
        config: the `probe` section.
        make: the objective of a new network that is not compiled; called if a measure is of layers.
        examples: a split; the first few examples are used.

    Raises:
        RequestError: the network calls fewer weight layers, or `shift` is wanted of one that is frozen.
        WorkError: a person's own network fails.
    """
    if not _of_layers(config):
        return []
    objective = make()
    objective.model.train()
    return find_layers(config, objective, next(iter(examples.batches(EXAMPLES))))


def find_layers(config: Probe, objective: Objective, batch: Batch) -> list[WeightLayer]:
    """The layers of `probe.layers`, found by one forward pass of a batch that leaves the network as it is.

    Raises:
        RequestError, WorkError: as `probed_layers`.
    """
    if not _of_layers(config):
        return []
    objective, doing = objective.in_full_precision(), explained("while the network is run to find its layers")
    find = partial(weight_layers, objective.model, batch, objective.outputs(objective.model))
    with steady(objective.model), seeded(objective.device, 0), doing:
        found = without_gradients(find)
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


def _of_layers(config: Probe) -> bool:
    return any(MEASURES[measure].layers for measure in config.measures)


def layer_outputs(step: Step, describe: Callable[[Tensor], Description]) -> list[Description | None]:
    """A description of the output of each layer of a step, by one forward pass over its minibatch.

    An output is taken after normalisation and noise and before the non-linearity: of one channel or unit, drawn with
    the seed and the same at every step, or of all together (`probe.channel`). A layer that is called several times is
    described at its first call; one that this pass does not call (a block that is skipped at random) is None.

    Args:
        step: the step.
        describe: called while the pass runs, because a ReLU that follows may work in place.
    """
    heard: dict[int, Description] = {}

    def hear(layer: WeightLayer, _: nn.Module, __: object, output: Tensor) -> None:
        if layer.number in heard:
            return
        values = output.detach()
        if step.config.channel == "drawn":
            values = values.select(layer.channel, channel(step.seed, layer.number, output.shape[layer.channel]))
        heard[layer.number] = describe(values)

    handles = []
    for layer in step.layers:
        module = step.objective.model.get_submodule(layer.output)
        handles.append(module.register_forward_hook(partial(hear, layer)))
    try:
        step.objective.apply(step.batch)
    finally:
        for handle in handles:
            handle.remove()
    return [heard.get(layer.number) for layer in step.layers]


def channel(seed: int, number: int, channels: int) -> int:
    """The channel of a layer that stands for it."""
    return int(torch.randint(channels, (), generator=generator(seed, "activation", number), device="cpu"))
