"""Classifiers of torchvision."""

import difflib

import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call

from lossviz.config.model import Torchvision as TorchvisionConfig
from lossviz.errors import Refusal, RequestError, first_line, refuse, show

# These two return several outputs, and warn, unless they are told otherwise.
ARGUMENTS = {name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")}


def torchvision_classifier(
    config: TorchvisionConfig, channels: int, classes: int, image_size: tuple[int, ...]
) -> nn.Module:
    """A network of torchvision.models with its own initialisation, drawn from torch's global generator.

    Args:
        config: name, arguments.
        channels: of the input images (N, channels, H, W).
        classes: of the output (N, classes).
        image_size: (H, W).

    Raises:
        RequestError: torchvision has no such classifier, or refuses its arguments; or it does not turn such
            images into one vector of logits each.
    """
    _check_name(config.network)
    name = f"torchvision/{config.network}"
    if channels != 3:
        problem = f"takes images of 3 channels, and the data have {channels}"
        refuse("model.name", problem, given=name, accepted="colour images, as cifar10")
    arguments = {**ARGUMENTS.get(config.network, {}), **config.args}
    given = f"model.name = {name} with model.args = {show(config.args)}"
    try:
        model: nn.Module = torchvision.models.get_model(config.network, weights=None, num_classes=classes, **arguments)
    except Exception as error:  # each function has its own way to refuse
        raise RequestError(Refusal(given, "torchvision refuses them", advice=first_line(error))) from error
    shape = _output_shape(model, (2, channels, *image_size), name)
    if shape != (2, classes):
        problem = f"does not return one vector of {classes} logits for an image"
        refuse(given, problem, advice="without the outputs of its auxiliary heads (aux_logits: false) it does")
    return model


def _check_name(name: str) -> None:
    # Detection, segmentation, video and quantised networks live in modules below torchvision.models.
    classifiers = torchvision.models.list_models(module=torchvision.models)
    if name in classifiers:
        return
    if name in torchvision.models.list_models():
        problem = "is not a classifier of images"
    else:
        near = difflib.get_close_matches(name, classifiers, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        problem = f"torchvision {torchvision.__version__} has no such network{hint}"
    accepted = "torchvision's classifiers, such as torchvision/resnet18"
    refuse("model.name", problem, given=f"torchvision/{name}", accepted=accepted)


def _output_shape(model: nn.Module, shape: tuple[int, ...], name: str) -> tuple[int, ...] | None:
    """Shape of the output for images of a shape; None when it is not one tensor. Computes no number."""
    hollow = {key: each.to("meta") for key, each in (*model.named_parameters(), *model.named_buffers())}
    try:
        with torch.no_grad():
            outputs = functional_call(model, hollow, (torch.empty(shape, device="meta"),))
    except Exception as error:  # what a layer says of images that it cannot take is its own
        problem = f"cannot take images of {'x'.join(map(str, shape[2:]))}: {first_line(error)}"
        advice = (
            "try a network that takes any size, such as torchvision/resnet18; or model.args, if it has a size there"
        )
        raise RequestError(Refusal("model.name", problem, name, advice=advice)) from error
    return tuple(outputs.shape) if isinstance(outputs, Tensor) else None
