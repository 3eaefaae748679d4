"""A network's parameters as a point that can be moved and put back."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lossviz.engine.state import steady
from lossviz.errors import Refusal, WorkError

Vector = Sequence[Tensor]
"""A point or a direction in parameter space: one tensor a parameter, in the network's order."""


@torch.no_grad()
def move(parameters: Vector, origin: Vector, *steps: tuple[float, Vector]) -> None:
    """Set parameters to origin + sum of a * d over the steps (a, d), always from the origin, in place.

    Example:
        >>> theta, origin, direction = torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([4.0, -2.0])
        >>> move([theta], [origin], (0.5, [direction]))
        >>> theta
        tensor([3., 1.])
    """
    if not parameters:
        return
    torch._foreach_copy_(list(parameters), list(origin))
    for length, direction in steps:
        if length == 0:
            continue  # also where the direction is not finite: the centre is the origin
        torch._foreach_add_(list(parameters), list(direction), alpha=length)


@contextmanager
def undisturbed(model: nn.Module, *, frozen_too: bool = False) -> Iterator[list[Tensor]]:
    """Leave parameters, buffers, mode flags and attributes bitwise as they were found, whatever the block does.

    Frozen parameters, which nothing here moves, are not copied: a network's own code alone could change them. Their
    sums tell (in float64; a tensor's count of its versions misses what is done to `.data`).

    Args:
        model: the network; see `steady` for what is put back beside its parameters.
        frozen_too: also put frozen parameters back, as where another checkpoint is loaded.

    Yields:
        A copy of the trainable parameters: the origin of every move.

    Raises:
        WorkError: the network changes a frozen parameter itself.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> weight = model.weight.detach().clone()
        >>> with undisturbed(model) as origin:
        ...     move(list(model.parameters()), origin, (1.0, origin))
        ...     torch.equal(model.weight, 2 * weight)
        True
        >>> torch.equal(model.weight, weight)
        True
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    frozen = {name: parameter for name, parameter in model.named_parameters() if not parameter.requires_grad}
    kept = [*trainable, *(frozen.values() if frozen_too else ())]
    copies, sums = [tensor.detach().clone() for tensor in kept], _sums(frozen.values())
    try:
        with steady(model):
            yield copies[: len(trainable)]
    finally:
        with torch.no_grad():
            for tensor, value in zip(kept, copies, strict=True):
                tensor.copy_(value)
    for name, before, now in zip(frozen, sums, _sums(frozen.values()), strict=True):
        if str(before) != str(now):  # in words NaN is NaN
            problem = (
                "is frozen (requires_grad is false), and the network's own code changes it, so measuring would change "
                "the network"
            )
            raise WorkError(Refusal(name, problem, advice="make it a buffer (register_buffer): buffers are put back"))


def _sums(tensors: Iterable[Tensor]) -> list[float]:
    with torch.no_grad():
        sums = [tensor.sum(dtype=torch.float64) for tensor in tensors]
    return torch.stack(sums).tolist() if sums else []


def squared_norm(vector: Vector) -> Tensor:
    """|v|^2 over all tensors, accumulated in float64; a 0-d tensor on the device.

    Example:
        >>> squared_norm([torch.tensor([3.0, 4.0]), torch.tensor(12.0)]).item()
        169.0
    """
    # float32 sums of torch's norm are 1e-4 off for a 512x512x3x3 convolution on a CPU.
    return torch.stack(torch._foreach_norm(list(vector), dtype=torch.float64)).square().sum()


def dot(first: Vector, second: Vector) -> Tensor:
    """<u, v> over all tensors, accumulated in float64; a 0-d tensor on the device.

    Example:
        >>> dot([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])]).item()
        11.0
    """
    return torch.stack([(u.double() * v).sum() for u, v in zip(first, second, strict=True)]).sum()


def penalty(parameters: Vector, weight_decay: float) -> Tensor:
    """weight_decay / 2 * |theta|^2, the term whose gradient is the weight decay of SGD and Adam.

    Example:
        >>> penalty([torch.tensor([3.0, 4.0])], weight_decay=0.5).item()
        6.25
    """
    if weight_decay == 0:
        return torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    if parameters[0].is_cuda:
        # Two launches instead of two a tensor: those took longer than the sums themselves.
        return squared_norm([parameter.detach() for parameter in parameters]) * (weight_decay / 2)
    # Every step pays for this one, and weights are tame: sum() adds pairwise, 3e-7 off for 14 million float32
    # numbers, in half the time of a float64 norm.
    squares = [parameter.detach().square().sum() for parameter in parameters]
    return torch.stack(squares).double().sum() * (weight_decay / 2)
