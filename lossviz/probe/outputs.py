"""The outputs of weight layers before their non-linearities."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from lossviz.models.layers import WeightLayer
from lossviz.probe.measure import Step
from lossviz.seeding import generator

Description = dict[str, Tensor]


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
    return int(torch.randint(channels, (), generator=generator(seed, "activation", number)))
