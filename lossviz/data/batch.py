"""A batch: any nesting of tensors, as a loss takes it."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

Batch: TypeAlias = Any
"""Tensors in mappings, lists, tuples and objects with a `.to(device)`; for a loss of outputs (inputs, targets)."""


def moved(batch: Batch, device: torch.device, dtype: torch.dtype | None = None) -> Batch:
    """The batch on a device, its real numbers in a dtype; what was given stays as it is.

    Tensors by `.to`; mappings, lists, tuples and named tuples by their entries; other objects, such as a graph of
    PyTorch Geometric, by their own `.to(device)`, which knows no dtype here; anything else as it is.

    Example:
        >>> batch = {"tokens": torch.arange(3), "images": [torch.zeros(2), torch.ones(1)], "name": "text"}
        >>> found = moved(batch, torch.device("cpu"), torch.float64)
        >>> found["tokens"].dtype, found["images"][1].dtype, found["name"]
        (torch.int64, torch.float64, 'text')
    """
    if isinstance(batch, Tensor):
        return batch.to(device, dtype if batch.is_floating_point() else None)
    if not isinstance(batch, Mapping) and callable(getattr(batch, "to", None)):
        return copy.copy(batch).to(device)  # many change themselves
    return _each(batch, lambda part: moved(part, device, dtype))


def is_pair(batch: Batch) -> bool:
    """Whether a batch is inputs and targets, as losses of outputs take it."""
    return isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(each, Tensor) for each in batch)


def rows(batch: Batch, index: Tensor, count: int) -> Batch | None:
    """Some examples of a batch of `count`: those rows of every tensor; None where that is not how it holds them.

    Example:
        >>> rows((torch.arange(6).view(3, 2), torch.arange(3)), torch.tensor([0, 0]), count=3)
        (tensor([[0, 1],
                [0, 1]]), tensor([0, 0]))
    """
    try:
        return _rows(batch, index, count)
    except _NoRowsError:
        return None


def leaves(batch: Batch, name: str = "batch") -> Iterator[tuple[str, object]]:
    """All that is in a batch, each with how Python would spell where it is.

    Example:
        >>> [name for name, _ in leaves({"image": torch.zeros(2), "boxes": [1, 2]})]
        ["batch['image']", "batch['boxes'][0]", "batch['boxes'][1]"]
    """
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from leaves(value, f"{name}[{key!r}]")
    elif isinstance(batch, list | tuple):
        for i, value in enumerate(batch):
            yield from leaves(value, f"{name}[{i}]")
    elif not isinstance(batch, Tensor) and hasattr(batch, "to") and hasattr(batch, "__dict__"):
        for key, value in vars(batch).items():
            yield from leaves(value, f"{name}.{key}")
    else:
        yield name, batch


def tensors(batch: Batch) -> list[Tensor]:
    """All tensors of a batch."""
    return [leaf for _, leaf in leaves(batch) if isinstance(leaf, Tensor)]


def digest(batch: Batch) -> bytes:
    """SHA-256 of the contents of a batch or an example."""
    found = hashlib.sha256()
    for name, leaf in leaves(batch):
        found.update(name.encode())
        if not isinstance(leaf, Tensor):
            found.update(repr(leaf).encode())
            continue
        found.update(repr((leaf.dtype, tuple(leaf.shape))).encode())
        found.update(leaf.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.digest()


def same_again(batches: Iterable[Batch], first: Batch) -> bool:
    """Whether batches that are gone through again begin with the same tensors."""
    return digest(tensors(next(iter(batches)))) == digest(tensors(first))


def kind(value: object) -> str:
    """The type of a value, of a short tuple those of its entries: `(Tensor, int)`."""
    if isinstance(value, tuple | list) and len(value) <= 4:
        return f"({', '.join(map(kind, value))})"
    return type(value).__name__


def _each(batch: Batch, change: Callable[[Batch], Batch]) -> Batch:
    """The same container with its entries changed."""
    if isinstance(batch, Mapping):
        changed = {key: change(value) for key, value in batch.items()}
        if type(batch) is dict or not isinstance(batch, MutableMapping):
            return changed
        found = copy.copy(batch)  # a UserDict has attributes of its own
        found.update(changed)
        return found
    if isinstance(batch, tuple):
        entries = [change(each) for each in batch]
        return type(batch)(*entries) if hasattr(batch, "_fields") else tuple(entries)
    return [change(each) for each in batch] if isinstance(batch, list) else batch


class _NoRowsError(Exception):
    pass


def _rows(batch: Batch, index: Tensor, count: int) -> Batch:
    if isinstance(batch, Tensor):
        if not batch.dim() or len(batch) != count:
            raise _NoRowsError
        return batch[index.to(batch.device)]
    if isinstance(batch, list) and len(batch) == count:
        # Of two tensors of two examples nobody can tell whether they are inputs and targets, or two images.
        if all(isinstance(each, Tensor) and len(each) == count for each in batch):
            raise _NoRowsError
        return [batch[i] for i in index.tolist()]
    if not isinstance(batch, Mapping | list | tuple):
        raise _NoRowsError
    return _each(batch, lambda part: _rows(part, index, count))
