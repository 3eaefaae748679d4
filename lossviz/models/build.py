"""From the `model` section to an initialised network."""

import torch
from torch import nn

from lossviz.config.model import Init, Model
from lossviz.config.model import Linear as LinearConfig
from lossviz.config.model import Resnet as ResnetConfig
from lossviz.models.linear import DeepLinear
from lossviz.models.resnet import Resnet
from lossviz.models.vgg import Vgg
from lossviz.seeding import generator, seeded


def build(config: Model, channels: int, classes: int, seed: int = 0) -> nn.Module:
    """A network on the CPU in float32, its weights a pure function of the seed.

    Variants that differ only in their normalisation start from the same weights.
    """
    # torch's constructors draw weights of their own, which initialise() replaces.
    with seeded(torch.device("cpu"), seed, "constructor"):
        if isinstance(config, LinearConfig):
            model: nn.Module = DeepLinear(config, channels, classes)
        elif isinstance(config, ResnetConfig):
            model = Resnet(config, channels, classes)
        else:
            model = Vgg(config, channels, classes)
    initialise(model, config.init, generator(seed, "init"))
    return model


@torch.no_grad()
def initialise(model: nn.Module, init: Init, draws: torch.Generator) -> None:
    """Draw the weights of convolutions and linear layers; biases are zero, normalisations the identity.

    glorot: U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), Glorot & Bengio 2010, equation 16;
    he: N(0, 2 / fan_in), He et al. 2015 ("Delving deep"), equation 10.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if init == "glorot":
                nn.init.xavier_uniform_(module.weight, generator=draws)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=draws)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
