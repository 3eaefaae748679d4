"""From the `model` section to an initialised network."""

from collections.abc import Callable

import torch
from torch import nn

from lossviz.config.model import Densenet as DensenetConfig
from lossviz.config.model import Gpt as GptConfig
from lossviz.config.model import ImagenetResnet as ImagenetResnetConfig
from lossviz.config.model import Init, Model, OwnModel, Transformers
from lossviz.config.model import Linear as LinearConfig
from lossviz.config.model import Resnet as ResnetConfig
from lossviz.config.model import Timm as TimmConfig
from lossviz.config.model import Torchvision as TorchvisionConfig
from lossviz.config.model import Vgg as VggConfig
from lossviz.errors import refuse
from lossviz.models.classifiers import timm_classifier, torchvision_classifier
from lossviz.models.densenet import Densenet
from lossviz.models.gpt import Gpt
from lossviz.models.huggingface import huggingface_network
from lossviz.models.imagenet_resnet import ImagenetResnet
from lossviz.models.linear import DeepLinear
from lossviz.models.own import own_network
from lossviz.models.resnet import Resnet
from lossviz.models.vgg import Vgg
from lossviz.seeding import generator, seeded
from lossviz.user_code.permissions import NOBODY, Allowed

NETWORKS: dict[type, Callable[..., nn.Module]] = {
    VggConfig: Vgg,
    ResnetConfig: Resnet,
    ImagenetResnetConfig: ImagenetResnet,
    DensenetConfig: Densenet,
    LinearConfig: DeepLinear,
}


def build(
    config: Model,
    channels: int,
    classes: int,
    seed: int = 0,
    image_size: tuple[int, ...] = (32, 32),
    allowed: Allowed = NOBODY,
) -> nn.Module:
    """A network on the CPU in float32, its weights a pure function of the seed.

    Variants that differ only in their normalisation start from the same weights.

    Args:
        config: the network.
        channels: of the input images, size of the input vectors, or tokens in a sequence.
        classes: of the output, or number of tokens that there are.
        seed: of the experiment.
        image_size: height and width of the input images.
        allowed: whose code may run.

    Raises:
        RequestError: the network does not take such images; or it is a library's, and is not there; or it is a
            person's own, and is not allowed or not a network.
        WorkError: a person's own code fails.
    """
    # torch's constructors draw weights of their own; initialise() replaces those of our networks.
    with seeded(torch.device("cpu"), seed, "constructor"):
        if isinstance(config, OwnModel):
            return own_network(config, channels, classes, allowed)
        if isinstance(config, TorchvisionConfig):
            return torchvision_classifier(config, channels, classes, image_size)
        if isinstance(config, TimmConfig):
            return timm_classifier(config, channels, classes, image_size)
        if isinstance(config, Transformers):
            return huggingface_network(config, classes)
        if isinstance(config, GptConfig):
            return Gpt(config, context=channels, vocabulary=classes)
        if isinstance(config, VggConfig) and image_size != (32, 32):
            refuse(
                "model.name",
                f"takes images of 32x32, and those of the data are {'x'.join(map(str, image_size))}",
                given="vgg",
                accepted="for other sizes resnet-imagenet, or torchvision's, such as torchvision/vgg16",
            )
        model = NETWORKS[type(config)](config, channels, classes)
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
    """Number of trainable parameters.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
