"""The state of a network that its own code can change, kept and put back."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from lossviz.models.duplicate import held

T = TypeVar("T")
_EXTRA = "_extra_state"


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a network by name: all of it that a checkpoint holds."""
    return without_extra(model.state_dict())


def without_extra(state: Mapping[str, T]) -> dict[str, T]:
    """A state_dict without what `get_extra_state` added: objects of any kind, which only the network's own code reads.

    Example:
        >>> list(without_extra({"0.weight": torch.ones(1), "0._extra_state": torch.ones(1)}))
        ['0.weight']
    """
    return {name: tensor for name, tensor in state.items() if str(name).rpartition(".")[2] != _EXTRA}


@contextmanager
def steady(model: nn.Module) -> Iterator[None]:
    """Leave all but the values of parameters bitwise as found: buffers, mode flags and attributes of the modules.

    By module and name, not by tensor: many hand-written BatchNorms re-assign their statistics, `self.running_mean =
    ...`, and those of d2l.ai keep them in plain attributes. Attributes come back with the values of their tensors and
    the states of their random generators, also where these are in lists and dicts. What other mutable objects hold
    inside is not looked at.
    """
    restore = snapshot(model)
    try:
        yield
    finally:
        restore()


def snapshot(model: nn.Module) -> Callable[[], None]:
    """A function that puts a network back into its present state, any number of times; see `steady`.

    Hooks stay as they are: those that a measurement registers must hear the passes that begin from this state.
    """
    values = [vars(module) for module in model.modules()]
    hooks = {id(each[name]) for each in values for name in each if "_hooks" in name}
    restores = [restore for value in held(model) if id(value) not in hooks and (restore := _restore(value))]

    @torch.no_grad()
    def restore_all() -> None:
        for restore in restores:
            restore()

    return restore_all


def _restore(value: object) -> Callable[[], object] | None:
    """A function that puts a value back as it is now; none if it cannot change or is put back elsewhere."""
    if isinstance(value, dict):
        return partial(_restore_dict, value, dict(value))
    if isinstance(value, list | deque):
        return partial(_restore_list, value, list(value))
    if isinstance(value, torch.Generator):
        return partial(value.set_state, value.get_state())
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and _may_be_written(value):
        return partial(value.copy_, value.detach().clone())
    return None


def _restore_dict(found: dict[object, object], contents: dict[object, object]) -> None:
    for name in [name for name in found if name not in contents]:
        del found[name]
    # Not all at once: these may be the attributes of a module, or of a class that refuses changes, as diffusers' does.
    for name, value in contents.items():
        if name not in found or found[name] is not value:
            found[name] = value


def _restore_list(found: list[object] | deque[object], contents: list[object]) -> None:
    if len(found) != len(contents) or any(one is not other for one, other in zip(found, contents, strict=True)):
        found.clear()
        found.extend(contents)


def _may_be_written(tensor: Tensor) -> bool:
    """Not a result that still has its graph, nor one of whose numbers several share a place."""
    if tensor.layout != torch.strided or tensor.grad_fn is not None or tensor.is_inference():
        return False
    return all(stride or size < 2 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))
