"""The weight layers of a network, counted from 1 as the papers count them."""

from dataclasses import dataclass

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


def weight_layers(model: nn.Module) -> list[WeightLayer]:
    """All convolutions and linear layers in the order of the network; those of shortcuts do not count (6n + 2)."""
    leaves = [
        module
        for name, module in model.named_modules()
        if not list(module.children()) and "shortcut" not in name.split(".")
    ]
    layers: list[WeightLayer] = []
    for i, module in enumerate(leaves):
        if isinstance(module, nn.Conv2d | nn.Linear):
            follower = leaves[i + 1] if i + 1 < len(leaves) else module
            output = follower if isinstance(follower, NORMALISATIONS) else module
            own = [module] if output is module else [module, output]
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
