"""Copies of networks, and all that is in them."""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


def duplicate(model: nn.Module, shared: Iterable[Tensor] = ()) -> nn.Module:
    """A copy of a network, but for tensors that both have.

    Also of one that computes a weight from others (weight norm): copy.deepcopy alone refuses such a tensor.
    """
    memo: dict[int, Tensor] = {id(tensor): tensor for tensor in shared}
    for value in held(model):
        if isinstance(value, Tensor) and not value.is_leaf:
            memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)


def emptied(model: nn.Module, answered: Iterable[nn.Module]) -> nn.Module:
    """A copy with NaN for parameters and for all that a network keeps but buffers, in which some parts answer as ever.

    What is the same with both is a function of what calls of these parts return. No weights are copied.
    """
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for value in held(model):
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
            blank = torch.full((), torch.nan, dtype=value.dtype, device=value.device).expand(value.shape)
            parameter = isinstance(value, nn.Parameter)
            memo.setdefault(id(value), nn.Parameter(blank, value.requires_grad) if parameter else blank)
    copied = copy.deepcopy(model, memo)
    for module in answered:
        vars(memo[id(module)]).update(_compiled_call_impl=module.__call__, forward=module.forward)
    return copied


def held(model: nn.Module) -> Iterator[object]:
    """All that is in the attributes of a network, once each: its modules, and what lies in dicts, lists and tuples."""
    seen: dict[int, object] = {}  # the values too: while one is here, no other has its id
    waiting: list[object] = [model]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        yield value
        if isinstance(value, nn.Module):
            waiting.append(vars(value))
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | deque | tuple):
            waiting.extend(value)


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel and torch.compile."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(model, wrappers) or isinstance(getattr(model, "_orig_mod", None), nn.Module):
        inner = model.module if isinstance(model, wrappers) else model._orig_mod
        assert isinstance(inner, nn.Module)
        model = inner
    return model
