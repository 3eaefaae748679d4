"""A network in float64, from which the faster ways to its numbers are judged."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lossviz.engine.memory import free_memory
from lossviz.models.duplicate import duplicate

# Of the free memory, what a copy may take: activations in float64 want some too.
SHARE = 0.5


def exact_networks(model: nn.Module) -> Iterator[nn.Module]:
    """Networks in float64 with the values of another one, the one that takes the least memory first.

    First `in_float64`. It raises RuntimeError where a module computes with the parameters of another one (the
    attention of torch.nn); a copy does not; there is one where it fits.
    """
    yield in_float64(model)
    if copy_fits(model):
        yield duplicate(model).double()


def copy_fits(model: nn.Module) -> bool:
    """Whether half of the free memory of a network's device holds a copy of it in float64; true where nobody knows."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}.values()
    free = free_memory(next(iter(tensors)).device)
    return free is None or 8 * sum(tensor.numel() for tensor in tensors) <= SHARE * free


def in_float64(model: nn.Module) -> nn.Module:
    """A network that computes in float64 and holds the parameters of one module at a time in it.

    The others are the model's own. What is float64 is what the copy of all of it would be, bitwise.
    """
    twin = duplicate(model, model.parameters())
    for module in twin.modules():
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if any(_is_shorter(tensor) for tensor in tensors):
            own = _Own(module)
            module.register_forward_pre_hook(own.lengthen, prepend=True)
            module.register_forward_hook(own.shorten, always_call=True)
    return twin


class _Own:
    """A module's own parameters and buffers, in float64 while it computes."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.shorter: list[tuple[dict[str, nn.Parameter | None], dict[str, Tensor | None]]] = []

    def lengthen(self, *_: object) -> None:
        module = self.module
        self.shorter.append((dict(module._parameters), dict(module._buffers)))
        for name, parameter in module._parameters.items():
            if parameter is not None and _is_shorter(parameter):
                module._parameters[name] = nn.Parameter(parameter.detach().double(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and _is_shorter(buffer):
                module._buffers[name] = buffer.double()

    def shorten(self, *_: object) -> None:
        parameters, buffers = self.shorter.pop()
        self.module._parameters.update(parameters)
        self.module._buffers.update(buffers)


def _is_shorter(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float64
