"""The weight layers of a network, counted from 1 as the papers count them."""

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from lossviz.errors import RequestError
from lossviz.models.normalization import NORMALISATIONS


@dataclass(frozen=True)
class WeightLayer:
    """A convolution or linear layer with what belongs to it.

    Attributes:
        number: from 1.
        module: the convolution or linear layer.
        output: the module whose output goes on to the non-linearity (in a residual block through the sum with
            the shortcut): the normalisation or noise that follows, or the layer itself.
        parameters: trainable tensors of the layer and of its normalisation.
    """

    number: int
    module: nn.Conv2d | nn.Linear
    output: nn.Module
    parameters: list[nn.Parameter]


# Modules on the way around a block: in networks named as Li et al.'s, and in those named as torchvision's.
SHORTCUTS = {"shortcut", "downsample"}


def weight_layers(model: nn.Module) -> list[WeightLayer]:
    """All convolutions and linear layers in the order of the network; those of shortcuts do not count (6n + 2).

    The normalisation that belongs to a layer is the one defined right after it by the same module. One that another
    module defines next may see other data: the next block's of a DenseNet sees the block's input as well.
    """
    leaves = [
        (name.rpartition(".")[0], module)
        for name, module in model.named_modules()
        if not list(module.children()) and SHORTCUTS.isdisjoint(name.split("."))
    ]
    layers: list[WeightLayer] = []
    for (parent, module), (next_parent, follower) in pairwise([*leaves, ("", None)]):
        if isinstance(module, nn.Conv2d | nn.Linear):
            normalised = isinstance(follower, NORMALISATIONS) and parent == next_parent
            output = follower if normalised else module
            own = [module, output] if normalised else [module]
            parameters = [tensor for each in own for tensor in each.parameters() if tensor.requires_grad]
            layers.append(WeightLayer(len(layers) + 1, module, output, parameters))
    return layers


def pick(model: nn.Module, numbers: tuple[int, ...]) -> list[WeightLayer]:
    """The weight layers with some numbers.

    Raises:
        RequestError: the network has fewer layers.
    """
    layers = weight_layers(model)
    beyond = [number for number in numbers if number > len(layers)]
    if beyond:
        raise RequestError(
            f"probe.layers = {list(numbers)}: the network has {len(layers)} weight layers\n"
            f"  accepted: 1 to {len(layers)}"
        )
    return [layers[number - 1] for number in numbers]
