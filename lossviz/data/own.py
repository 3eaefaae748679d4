"""A person's own data set, checked so that what does not fit is said by name."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn, TypeGuard

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from lossviz.config.data import OwnData
from lossviz.data.batch import Batch, same_again
from lossviz.data.collated import Examples, is_dataset
from lossviz.errors import refuse
from lossviz.seeding import seeded
from lossviz.user_code.loader import explained
from lossviz.user_code.permissions import Allowed
from lossviz.user_code.targets import load_target

Pair = tuple[Tensor, Tensor]
Part = Pair | Examples | Iterable[Batch]
# The target of a token that does not count, as torch's losses have it.
PADDING = -100
FORMS = "(inputs, targets), a Dataset, or batches that can be gone through again and again"


def own_data(config: OwnData, seed: int, allowed: Allowed) -> dict[str, Part]:
    """Each split as it is: a Dataset, an iterable of batches, or a pair of tensors.

    Of a pair, inputs are uint8 (N, C, H, W) or numbers (N, ...), and targets int64 (N, ...) or float (N, G, ...). What
    the target draws from torch's global generator is a pure function of the seed.

    Raises:
        RequestError: it is not allowed, or returns something else.
        WorkError: it fails.
    """
    make = load_target(config.target, config.args, allowed)
    with explained(f"while {config.target} makes the data"), seeded(torch.device("cpu"), seed, "own data"):
        made = make()
        if not _is_two(made):
            _refuse(config, f"returned {_kind(made)}", "(train, test)")
        parts = {name: _part(config, name, part) for name, part in zip(("train", "test"), made, strict=True)}
        train, test = parts.values()
        _refuse_keys_of_images(config, train)
    if isinstance(train, tuple) and isinstance(test, tuple):
        for what, one, other in zip(("inputs", "targets"), train, test, strict=True):
            if (one.shape[1:], one.dtype) != (other.shape[1:], other.dtype):
                _refuse(config, f"{what} are {_kind(one)} in train and {_kind(other)} in test", "the same but for N")
    return parts


def _part(config: OwnData, name: str, part: object) -> Part:
    if _is_two(part) and isinstance(part[0], Tensor):
        return _pair(config, name, *part)
    if isinstance(part, Tensor | Mapping | str | tuple):
        _refuse(config, f"{name} is {_kind(part)}", FORMS)
    if isinstance(part, IterableDataset):
        advice = "a DataLoader of it: torch.utils.data.DataLoader(dataset, batch_size=...)"
        _refuse(config, f"{name} is {_kind(part)}, which gives single examples", advice)
    if isinstance(part, Iterator):
        _refuse(config, f"{name} is {_kind(part)}, which can be gone through only once", FORMS)
    if is_dataset(part):
        if not len(part):
            _refuse(config, f"{name} is {_kind(part)} without examples", "at least one example")
        return part
    if not isinstance(part, Iterable):
        unsized = hasattr(part, "__getitem__") and not hasattr(part, "__len__")
        _refuse(config, f"{name} is {_kind(part)}{', which has no len()' if unsized else ''}", FORMS)
    first = next(iter(part), None)
    if first is None:
        _refuse(config, f"{name} is {_kind(part)} without batches", "at least one batch")
    if not same_again(part, first):
        problem = f"{name} is {_kind(part)} whose first batch is another one every time"
        _refuse(
            config, problem, "the same batches for every point: neither shuffled nor changed at random; or a Dataset"
        )
    return part


def _pair(config: OwnData, name: str, inputs: object, targets: object) -> Pair:
    """Inputs and targets of a split, checked."""
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        _refuse(config, f"{name} is {_kind((inputs, targets))}", "two torch.Tensors, inputs and targets")
    if inputs.shape[:1] != targets.shape[:1] or not inputs.numel():
        _refuse(config, f"{name} is {_kind(inputs)} and {_kind(targets)}", "as many targets as inputs, at least one")
    if inputs.dim() < 2 or inputs.is_complex():
        accepted = "images as uint8 (N, C, H, W), or other real numbers (N, ...) with two dimensions or more"
        _refuse(config, f"inputs of {name} are {_kind(inputs)}", accepted)
    whole = not (targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool)
    if not whole and not (targets.is_floating_point() and targets.dim() > 1):
        accepted = "classes as whole numbers (N,), or vectors as float (N, G): targets[:, None]"
        _refuse(config, f"targets of {name} are {_kind(targets)}", accepted)
    if whole and ((targets < 0) & ((targets != PADDING) | (targets.dim() == 1))).any():
        _refuse(config, f"targets of {name} hold the class {int(targets.min())}", "classes 0, 1, 2, ...")
    if inputs.dtype in (torch.float16, torch.bfloat16):
        inputs = inputs.float()
    return inputs.detach().cpu(), targets.detach().cpu().to(torch.int64 if whole else torch.float64)


def _refuse_keys_of_images(config: OwnData, train: Part) -> None:
    """Refuse keys that mean nothing for data that are no images."""
    if isinstance(train, tuple):
        inputs, images = _kind(train[0]), train[0].dim() == 4
    else:
        example = train[0] if is_dataset(train) else None
        first = example[0] if _is_two(example) else None
        inputs, images = _kind(first), isinstance(first, Tensor) and first.dim() == 3
    for key in ("mean", "std"):
        if getattr(config, key) is not None and not (images and inputs.startswith("uint8")):
            accepted = f"data.{key} for uint8 images (N, C, H, W) only: inputs[:, None] where they have one channel"
            _refuse(config, f"inputs are {inputs}, and data.{key} is given", accepted)
    if config.augment != "none" and not images:
        _refuse(config, f"inputs are {inputs}, and data.augment = {config.augment}", "images (N, C, H, W) for it")


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
