"""A person's own data set, checked so that what does not fit is said by name."""

from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor

from lossviz.config.data import OwnData
from lossviz.errors import refuse
from lossviz.seeding import seeded
from lossviz.user_code.loader import explained
from lossviz.user_code.permissions import Allowed
from lossviz.user_code.targets import load_target

Pair = tuple[Tensor, Tensor]


@runtime_checkable
class Examples(Protocol):
    """A map-style Dataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


def own_data(config: OwnData, seed: int, allowed: Allowed) -> dict[str, Pair]:
    """Inputs, uint8 (N, C, H, W) or float (N, ...), and targets, int64 (N, ...) or float (N, G, ...), of each split.

    What the target draws from torch's global generator is a pure function of the seed.

    Raises:
        RequestError: it is not allowed, or returns something else.
        WorkError: it fails.
    """
    make = load_target(config.target, config.args, allowed)
    with explained(f"while {config.target} makes the data"), seeded(torch.device("cpu"), seed, "own data"):
        made = make()
        if not _is_two(made):
            _refuse(config, f"returned {_kind(made)}", "(train, test)")
        parts = {name: _pair(config, name, part) for name, part in zip(("train", "test"), made, strict=True)}
    for what, one, other in zip(("inputs", "targets"), parts["train"], parts["test"], strict=True):
        if (one.shape[1:], one.dtype) != (other.shape[1:], other.dtype):
            _refuse(config, f"{what} are {_kind(one)} in train and {_kind(other)} in test", "the same but for N")
    inputs, _ = parts["train"]
    for key in ("mean", "std"):
        if getattr(config, key) is not None and inputs.dtype != torch.uint8:
            _refuse(config, f"inputs are {_kind(inputs)}, and data.{key} is given", f"data.{key} for uint8 images only")
    if config.augment != "none" and inputs.dim() != 4:
        _refuse(
            config, f"inputs are {_kind(inputs)}, and data.augment = {config.augment}", "images (N, C, H, W) for it"
        )
    return parts


def _pair(config: OwnData, name: str, part: object) -> Pair:
    """Inputs and targets of a split, checked."""
    inputs, targets = part if _is_two(part) else _stacked(config, name, part)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        _refuse(config, f"{name} is {_kind(part)}", "two torch.Tensors, inputs and targets")
    if inputs.shape[:1] != targets.shape[:1] or not inputs.numel():
        _refuse(config, f"{name} is {_kind(inputs)} and {_kind(targets)}", "as many targets as inputs, at least one")
    if inputs.dim() < 2 or not (inputs.is_floating_point() or (inputs.dtype == torch.uint8 and inputs.dim() == 4)):
        accepted = "images as uint8 (N, C, H, W), or float (N, ...) with two dimensions or more"
        _refuse(config, f"inputs of {name} are {_kind(inputs)}", accepted)
    whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    if not whole and not (targets.is_floating_point() and targets.dim() > 1):
        accepted = "classes as whole numbers (N,), or vectors as float (N, G): targets[:, None]"
        _refuse(config, f"targets of {name} are {_kind(targets)}", accepted)
    if whole and targets.min() < 0:
        _refuse(config, f"targets of {name} hold the class {int(targets.min())}", "classes 0, 1, 2, ...")
    if inputs.dtype in (torch.float16, torch.bfloat16):
        inputs = inputs.float()
    return inputs.detach().cpu(), targets.detach().cpu().to(torch.int64 if whole else torch.float64)


def _stacked(config: OwnData, name: str, part: object) -> list[Tensor]:
    """Inputs and targets of the examples of a Dataset."""
    if not isinstance(part, Examples) or isinstance(part, Sequence | Mapping | Tensor):
        _refuse(config, f"{name} is {_kind(part)}", "(inputs, targets), or a Dataset of (tensor, label)")
    inputs, targets = [], []
    for index in range(len(part)):
        item = part[index]
        if not _is_two(item) or not isinstance(item[0], Tensor):
            accepted = "(tensor, label) for each example; for images, transform=torchvision.transforms.PILToTensor()"
            _refuse(config, f"{name} holds {_kind(item)}", accepted)
        inputs.append(item[0])
        targets.append(torch.as_tensor(item[1]))
        if inputs[-1].shape != inputs[0].shape:
            _refuse(config, f"{name} holds {_kind(inputs[0])} and {_kind(inputs[-1])}", "inputs of one shape")
    return [torch.stack(inputs), torch.stack(targets)] if inputs else [torch.empty(0), torch.empty(0)]


def _is_two(value: object) -> TypeGuard[tuple[object, object] | list[object]]:
    return isinstance(value, tuple | list) and len(value) == 2


def _kind(value: object) -> str:
    """A value's type, with shapes: `float32 (100, 2)`."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, tuple | list) and len(value) <= 4:
        return f"({', '.join(_kind(each) for each in value)})"
    return type(value).__name__


def _refuse(config: OwnData, problem: str, accepted: str) -> NoReturn:
    refuse("data.target", problem, given=config.target, accepted=accepted)
