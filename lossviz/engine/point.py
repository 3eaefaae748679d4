"""A network's parameters as a point that can be moved and put back."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from types import EllipsisType

import torch
from torch import Tensor, nn

from lossviz.engine.state import steady
from lossviz.errors import Refusal, WorkError

Vector = Sequence[Tensor]
"""A point or a direction in parameter space: one tensor a parameter, in the network's order."""


# Of numbers with 8 or 11 bits sums are taken in float32.
SHORT = (torch.bfloat16, torch.float16)
# Elements that are worked on at a time where that takes a copy in a longer dtype: no tensor of a network of ours has more
# (a convolution from 512 to 512 channels), so their sums are as they were when they were taken whole.
PIECE = 512 * 512 * 9


@torch.no_grad()
def move(parameters: Vector, origin: Vector, *steps: tuple[float, Vector]) -> None:
    """Set parameters to origin + sum of a * d over the steps (a, d), always from the origin, in place.

    Parameters in bfloat16 or float16 are summed up in float32 and rounded once.

    Example:
        >>> theta, origin, direction = torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([4.0, -2.0])
        >>> move([theta], [origin], (0.5, [direction]))
        >>> theta
        tensor([3., 1.])
    """
    taken = [step for step in steps if step[0] != 0]  # where a direction is not finite too, the centre is the origin
    long = [i for i, parameter in enumerate(parameters) if parameter.dtype not in SHORT]
    if long:
        torch._foreach_copy_([parameters[i] for i in long], [origin[i] for i in long])
        for length, direction in taken:
            torch._foreach_add_([parameters[i] for i in long], [direction[i] for i in long], alpha=length)
    total, step = Scratch(torch.float32), Scratch(torch.float32)
    for i in set(range(len(parameters))).difference(long):
        for rows in pieces(parameters[i]):
            there = total.copy(origin[i][rows])
            for length, direction in taken:
                there.add_(step.copy(direction[i][rows]), alpha=length)
            parameters[i][rows].copy_(there)


def pieces(tensor: Tensor) -> list[slice | EllipsisType]:
    """Indices of parts of a tensor that have at most `PIECE` elements: rows of a large one, or all of it.

    Their number of rows is a multiple of 16, but for the last, which has 16 elements or more: numbers drawn piece by
    piece are then those of the whole (torch draws normal numbers in blocks of 16).
    """
    if tensor.numel() <= PIECE or tensor.dim() < 2:
        return [...]
    step = max(16, PIECE * len(tensor) // tensor.numel() // 16 * 16)
    starts = [*range(0, len(tensor), step)]
    if len(starts) > 1 and (len(tensor) - starts[-1]) * tensor[0].numel() < 16:
        starts.pop()
    return [slice(start, stop) for start, stop in pairwise([*starts, len(tensor)])]


class Scratch:
    """One piece of memory for copies of many tensors in a dtype, one after another.

    Blocks that are taken and given back between others, in other sizes, leave holes that glibc does not fill again: a
    scan of a network of 64 MB grew by 270 MB of them.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._memory = torch.empty(0, dtype=dtype)

    def copy(self, tensor: Tensor) -> Tensor:
        """The values of a tensor, dense and in its order in memory; valid until the next copy."""
        if len(self._memory) < tensor.numel() or self._memory.device != tensor.device:
            self._memory = torch.empty(max(tensor.numel(), 1), dtype=self._dtype, device=tensor.device)
        layout = torch.empty_like(tensor, device="meta").stride()
        return self._memory.as_strided(tensor.shape, layout).copy_(tensor)


@contextmanager
def undisturbed(model: nn.Module, moves: Iterable[Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Leave parameters, buffers, mode flags and attributes bitwise as they were found, whatever the block does.

    Parameters that the block does not move are not copied: only the network's own code could change them. Their sums
    tell (in float64; a tensor's count of its versions misses what is done to `.data`).

    Args:
        model: the network; see `steady` for what is put back beside its parameters.
        moves: the tensors that the block moves; the trainable parameters unless given.

    Yields:
        A copy of these: the origin of every move.

    Raises:
        WorkError: the network changes another parameter itself.

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
    moved = [each for each in model.parameters() if each.requires_grad] if moves is None else list(moves)
    taken = {id(tensor) for tensor in moved}
    others = {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in taken}
    copies, sums = [tensor.detach().clone() for tensor in moved], _sums(others.values())
    try:
        with steady(model):
            yield copies
    finally:
        with torch.no_grad():
            for tensor, value in zip(moved, copies, strict=True):
                tensor.copy_(value)
    for name, before, now in zip(others, sums, _sums(others.values()), strict=True):
        if str(before) != str(now):  # in words NaN is NaN
            what = "does not move here" if others[name].requires_grad else "is frozen (requires_grad is false)"
            problem = f"{what}, and the network's own code changes it, so measuring would change the network"
            raise WorkError(Refusal(name, problem, advice="make it a buffer (register_buffer): buffers are put back"))


@torch.no_grad()
def _sums(tensors: Iterable[Tensor]) -> list[float]:
    """The sum of each tensor; in pieces, as on a CPU a sum in float64 is one of a copy in float64."""
    scratch = Scratch(torch.float64)
    sums = [torch.stack([scratch.copy(tensor[rows]).sum() for rows in pieces(tensor)]).sum() for tensor in tensors]
    return torch.stack(sums).tolist() if sums else []


def squared_norm(vector: Iterable[Tensor]) -> Tensor:
    """|v|^2 over all tensors, accumulated in float64; a 0-d tensor on the device.

    Tensors that are made one after another are never in memory together.

    Example:
        >>> squared_norm([torch.tensor([3.0, 4.0]), torch.tensor(12.0)]).item()
        169.0
    """
    # float32 sums of torch's norm are 1e-4 off for a 512x512x3x3 convolution on a CPU.
    if isinstance(vector, list) and vector[0].is_cuda:
        return torch.stack(torch._foreach_norm(vector, dtype=torch.float64)).square().sum()
    scratch = Scratch(torch.float64)
    copies = (scratch.copy(tensor.detach()[rows]) for tensor in vector for rows in pieces(tensor))
    return torch.stack([torch.linalg.vector_norm(each) for each in copies]).square().sum()


def dot(first: Vector, second: Vector) -> Tensor:
    """<u, v> over all tensors, accumulated in float64; a 0-d tensor on the device.

    Example:
        >>> dot([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])]).item()
        11.0
    """
    one, other = Scratch(torch.float64), Scratch(torch.float64)
    pairs = ((u.detach()[rows], v.detach()[rows]) for u, v in zip(first, second, strict=True) for rows in pieces(u))
    return torch.stack([one.copy(u).mul_(other.copy(v)).sum() for u, v in pairs]).sum()


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
