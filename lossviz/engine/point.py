"""A network's parameters as a point that can be moved and put back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Vector = Sequence[Tensor]
"""A point or a direction in parameter space: one tensor a parameter, in the network's order."""


@torch.no_grad()
def move(parameters: Vector, origin: Vector, *steps: tuple[float, Vector]) -> None:
    """Set parameters to origin + sum of a * d over the steps (a, d), always from the origin, in place."""
    if not parameters:
        return
    torch._foreach_copy_(list(parameters), list(origin))
    for length, direction in steps:
        if length == 0:
            continue  # also where the direction is not finite: the centre is the origin
        torch._foreach_add_(list(parameters), list(direction), alpha=length)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[list[Tensor]]:
    """Leave parameters, buffers and mode flags bitwise as they were found, whatever the block does.

    Yields:
        A copy of the trainable parameters: the origin of every move.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rest = [tensor for tensor in (*model.parameters(), *model.buffers()) if not tensor.requires_grad]
    origin, kept = ([tensor.detach().clone() for tensor in tensors] for tensors in (trainable, rest))
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield origin
    finally:
        with torch.no_grad():
            for tensor, value in zip([*trainable, *rest], [*origin, *kept], strict=True):
                tensor.copy_(value)
        for module, training in modes:
            module.training = training


def squared_norm(vector: Vector) -> Tensor:
    """|v|^2 over all tensors, accumulated in float64; a 0-d tensor on the device."""
    # float32 sums of torch's norm are 1e-4 off for a 512x512x3x3 convolution on a CPU.
    return torch.stack(torch._foreach_norm(list(vector), dtype=torch.float64)).square().sum()


def dot(first: Vector, second: Vector) -> Tensor:
    """<u, v> over all tensors, accumulated in float64; a 0-d tensor on the device."""
    return torch.stack([(u.double() * v).sum() for u, v in zip(first, second, strict=True)]).sum()


def penalty(parameters: Vector, weight_decay: float) -> Tensor:
    """weight_decay / 2 * |theta|^2, the term whose gradient is the weight decay of SGD and Adam."""
    if weight_decay == 0:
        return torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    if parameters[0].is_cuda:
        # Two launches instead of two a tensor: those took longer than the sums themselves.
        return squared_norm([parameter.detach() for parameter in parameters]) * (weight_decay / 2)
    # Every step pays for this one, and weights are tame: sum() adds pairwise, 3e-7 off for 14 million float32
    # numbers, in half the time of a float64 norm.
    squares = [parameter.detach().square().sum() for parameter in parameters]
    return torch.stack(squares).double().sum() * (weight_decay / 2)
