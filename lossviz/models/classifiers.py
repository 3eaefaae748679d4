"""Classifiers of images by name: torchvision's and timm's."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call

from lossviz.config.model import Timm as TimmConfig
from lossviz.config.model import Torchvision as TorchvisionConfig
from lossviz.errors import Refusal, RequestError, first_line, needing_extra, refuse, show

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
    # Detection, segmentation, video and quantised networks live in modules below torchvision.models.
    _check_name(config, torchvision.__version__, torchvision.models.list_models(module=torchvision.models))
    if channels != 3:
        problem = f"takes images of 3 channels, and the data have {channels}"
        refuse("model.name", problem, given=_name(config), accepted="colour images, as cifar10")
    arguments = {**ARGUMENTS.get(config.network, {}), **config.args}
    with _refusing(config):
        model: nn.Module = torchvision.models.get_model(config.network, weights=None, num_classes=classes, **arguments)
    _check_outputs(config, model, (2, channels, *image_size), classes)
    return model


def timm_classifier(config: TimmConfig, channels: int, classes: int, image_size: tuple[int, ...]) -> nn.Module:
    """The same of timm, for images of any number of channels.

    Raises:
        RequestError: as `torchvision_classifier`; or timm is not installed.
    """
    with needing_extra("timm", _name(config)):
        timm = import_module("timm")
    _check_name(config, timm.__version__, timm.list_models())
    with _refusing(config):
        model: nn.Module = timm.create_model(config.network, num_classes=classes, in_chans=channels, **config.args)
    _check_outputs(config, model, (2, channels, *image_size), classes)
    return model


Config = TorchvisionConfig | TimmConfig


def _name(config: Config) -> str:
    return f"{config.name}/{config.network}"


def _check_name(config: Config, version: str, classifiers: Sequence[str]) -> None:
    if config.network in classifiers:
        return
    if config.name == "torchvision" and config.network in torchvision.models.list_models():
        problem = "is not a classifier of images"
    else:
        near = difflib.get_close_matches(config.network, classifiers, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        problem = f"{config.name} {version} has no such network{hint}"
    accepted = f"{config.name}'s classifiers, such as {config.name}/resnet18"
    refuse("model.name", problem, given=_name(config), accepted=accepted)


@contextmanager
def _refusing(config: Config) -> Iterator[None]:
    """Say what the library says of the arguments."""
    try:
        yield
    except Exception as error:  # each function has its own way to refuse
        problem = f"{config.name} refuses them"
        raise RequestError(Refusal(_given(config), problem, advice=first_line(error))) from error


def _given(config: Config) -> str:
    return f"model.name = {_name(config)} with model.args = {show(config.args)}"


def _check_outputs(config: Config, model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    if _output_shape(model, shape, _name(config)) != (2, classes):
        problem = f"does not return one vector of {classes} logits for an image"
        refuse(_given(config), problem, advice="without the outputs of its auxiliary heads (aux_logits: false) it does")


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
