"""Calls of a network's modules, recorded until a part of it begins that changes, and given back."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Compute = Callable[..., object]
"""A module's own forward."""


@dataclass(frozen=True)
class _Away:
    """A tensor that nothing reads after the prefix."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device

    def poison(self) -> Tensor:
        """NaN in its place, which would be seen in the losses if something did read it."""
        return torch.full((), float("nan"), dtype=self.dtype, device=self.device).expand(self.shape)


# In place of an output that holds more than tensors and numbers: the module computes again.
_AGAIN = object()


@dataclass
class Record:
    """The prefix of a batch.

    Attributes:
        point: where it was recorded.
        calls: of modules that do not move, in order: name and output.
        first: the arguments of the first moved module, if it was called.
        verified: whether it gave, at another point, what the network gives.
    """

    point: tuple[float, float]
    calls: list[tuple[str, object]] = field(default_factory=list)
    first: object = None
    verified: bool = False

    @property
    def bytes(self) -> int:
        """What it takes."""
        leaves = tree_leaves([[output for _, output in self.calls], self.first])
        once = {leaf.data_ptr(): leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, Tensor)}
        return sum(once.values())


class DepartedError(RuntimeError):
    """The network did something else than when the prefix was recorded."""


class Recording:
    """Keeps what modules return until the first moved one is called.

    Args:
        record: to be filled.
        lean: whether of what was returned only that is kept which is still there then.

    Attributes:
        over: whether a moved module was called.
    """

    def __init__(self, record: Record, lean: bool) -> None:
        self.record, self.lean = record, lean
        self.over, self.inside = False, False
        self._copies: dict[int, Tensor] = {}

    def frozen(self, name: str, forward: Compute, *positional: object, **named: object) -> object:
        """A call of a module in which nothing moves."""
        if self.over or self.inside:
            return forward(*positional, **named)
        self.inside = True
        try:
            output = forward(*positional, **named)
        finally:
            self.inside = False
        plain = all(isinstance(leaf, Tensor | bool | int | float | str | None) for leaf in tree_leaves(output))
        self.record.calls.append((name, tree_map(self._noted, output) if plain else _AGAIN))
        return output

    def moved(self, _: str, forward: Compute, *positional: object, **named: object) -> object:
        """A call of a module that has moved tensors."""
        if not self.over:
            self._end()
            self.record.first = tree_map(self._copied, (positional, named))
        return forward(*positional, **named)

    def holder(self, _: str, forward: Compute, *positional: object, **named: object) -> object:
        """A call of a module that holds moved modules."""
        output = forward(*positional, **named)
        if not self.over:  # it read what moves without a call, as the fast path of torch.nn's transformer does
            self._end()
        return output

    def _noted(self, leaf: object) -> object:
        if self.lean and isinstance(leaf, Tensor) and leaf.is_floating_point():
            return _Note(weakref.ref(leaf), _Away(leaf.shape, leaf.dtype, leaf.device))
        return _copied(leaf)

    def _end(self) -> None:
        self.over = True
        self.record.calls = [(name, tree_map(self._kept, output)) for name, output in self.record.calls]

    def _kept(self, leaf: object) -> object:
        if not isinstance(leaf, _Note):
            return leaf
        tensor = leaf.tensor()
        return leaf.away if tensor is None else self._copied(tensor)

    def _copied(self, leaf: object) -> object:
        """A copy of a tensor, one for all places where it is."""
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) not in self._copies:
            self._copies[id(leaf)] = leaf.clone()
        return self._copies[id(leaf)]


@dataclass(frozen=True)
class _Note:
    """A tensor that was returned."""

    tensor: "weakref.ref[Tensor]"
    away: _Away


class Replay:
    """Gives back what was kept.

    Raises:
        DepartedError: at a call that was another one then.
    """

    def __init__(self, record: Record) -> None:
        self.record, self.left = record, iter(record.calls)
        self.over = False

    def frozen(self, name: str, forward: Compute, *positional: object, **named: object) -> object:
        """A call of a module in which nothing moves."""
        if self.over:
            return forward(*positional, **named)
        expected, output = next(self.left, ("", None))
        if name != expected:
            raise DepartedError
        if output is _AGAIN:
            return forward(*positional, **named)
        return tree_map(_given, output)

    def moved(self, _: str, forward: Compute, *positional: object, **named: object) -> object:
        """A call of a module that has moved tensors."""
        if not self.over and self.record.first is not None:
            here, there = (positional, named), self.record.first
            try:
                positional, named = tree_map(_replaced, here, there)
            except ValueError:  # another number of arguments
                raise DepartedError from None
        self.over = True
        return forward(*positional, **named)

    def holder(self, _: str, forward: Compute, *positional: object, **named: object) -> object:
        """A call of a module that holds moved modules."""
        output = forward(*positional, **named)
        self.over = True
        return output


def _copied(leaf: object) -> object:
    """A copy of a tensor: the network may work on it in place."""
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def _replaced(old: object, new: object) -> object:
    return _copied(new) if isinstance(new, Tensor) else old


def _given(leaf: object) -> object:
    return leaf.poison() if isinstance(leaf, _Away) else _copied(leaf)
