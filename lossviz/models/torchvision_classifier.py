"""Classifiers of torchvision."""

import difflib

import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call

from lossviz.config.model import Torchvision as TorchvisionConfig
from lossviz.errors import RequestError, show

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
    wanted = f"model.name = torchvision/{config.network}"
    if channels != 3:
        raise RequestError(
            f"{wanted}: takes images of 3 channels, and the data have {channels}\n  accepted: colour images, as cifar10"
        )
    arguments = {**ARGUMENTS.get(config.network, {}), **config.args}
    given = f"{wanted} with model.args = {show(config.args)}"
    try:
        model: nn.Module = torchvision.models.get_model(config.network, weights=None, num_classes=classes, **arguments)
    except Exception as error:  # each function has its own way to refuse
        raise RequestError(f"{given}: torchvision refuses them\n  {_first_line(error)}") from error
    shape = _output_shape(model, (2, channels, *image_size), wanted)
    if shape != (2, classes):
        raise RequestError(
            f"{given}: does not return one vector of {classes} logits for an image\n"
            "  without the outputs of its auxiliary heads (aux_logits: false) it does"
        )
    return model


def _check_name(name: str) -> None:
    # Detection, segmentation, video and quantised networks live in modules below torchvision.models.
    classifiers = torchvision.models.list_models(module=torchvision.models)
    if name in classifiers:
        return
    if name in torchvision.models.list_models():
        raise RequestError(
            f"model.name = torchvision/{name}: is not a classifier of images\n"
            "  accepted: torchvision's classifiers, such as torchvision/resnet18"
        )
    near = difflib.get_close_matches(name, classifiers, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise RequestError(
        f"model.name = torchvision/{name}: torchvision {torchvision.__version__} has no such network{hint}\n"
        "  accepted: torchvision's classifiers, such as torchvision/resnet18"
    )


def _output_shape(model: nn.Module, shape: tuple[int, ...], wanted: str) -> tuple[int, ...] | None:
    """Shape of the output for images of a shape; None when it is not one tensor. Computes no number."""
    hollow = {name: each.to("meta") for name, each in (*model.named_parameters(), *model.named_buffers())}
    try:
        with torch.no_grad():
            outputs = functional_call(model, hollow, (torch.empty(shape, device="meta"),))
    except Exception as error:  # what a layer says of images that it cannot take is its own
        raise RequestError(
            f"{wanted}: cannot take images of {'x'.join(map(str, shape[2:]))}: {_first_line(error)}\n"
            "  try a network that takes any size, such as torchvision/resnet18; or model.args, if it has a size there"
        ) from error
    return tuple(outputs.shape) if isinstance(outputs, Tensor) else None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
