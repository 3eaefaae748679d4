"""A network's parameters as a point that can be moved and put back."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from tempfile import TemporaryFile

import torch
from torch import Tensor, nn

from lossviz.engine.state import steady
from lossviz.engine.streamed import OnDisk, Scratch, Streamed, all_parts, parts_of, pieces
from lossviz.errors import Refusal, WorkError

Vector = Sequence[Tensor]
"""A point or a direction in parameter space: one tensor a parameter, in the network's order."""


# Of numbers with 8 or 11 bits sums are taken in float32.
SHORT = (torch.bfloat16, torch.float16)


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
    streamed = any(isinstance(vector, Streamed) for vector in (origin, *(direction for _, direction in taken)))
    whole = [i for i, parameter in enumerate(parameters) if parameter.dtype not in SHORT and not streamed]
    if whole:
        torch._foreach_copy_([parameters[i] for i in whole], [origin[i] for i in whole])
        for length, direction in taken:
            torch._foreach_add_([parameters[i] for i in whole], [direction[i] for i in whole], alpha=length)
    total, step = Scratch(torch.float32), Scratch(torch.float32)
    for i in sorted(set(range(len(parameters))).difference(whole)):
        short, directions = parameters[i].dtype in SHORT, [parts_of(direction, i) for _, direction in taken]
        for rows, start, *along in zip(pieces(parameters[i]), parts_of(origin, i), *directions, strict=True):
            there = total.copy(start) if short else parameters[i][rows].copy_(start)
            for (length, _), part in zip(taken, along, strict=True):
                there.add_(step.copy(part) if short else part, alpha=length)
            if short:
                parameters[i][rows].copy_(there)


@contextmanager
def undisturbed(
    model: nn.Module, moves: Iterable[Tensor] | None = None, *, keep: bool = True, folder: str | None = None
) -> Iterator[Vector]:
    """Leave parameters, buffers, mode flags and attributes bitwise as they were found, whatever the block does.

    Parameters that the block does not move are not copied: only the network's own code could change them. Their sums
    tell (in float64; a tensor's count of its versions misses what is done to `.data`).

    Args:
        model: the network; see `steady` for what is put back beside its parameters.
        moves: the tensors that the block moves; the trainable parameters unless given.
        keep: whether the copy is in memory; else it is in a temporary file.
        folder: of that file; the system's unless given.

    Yields:
        The copy of what the block moves: the origin of every move.

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
    sums = _sums(others.values())
    with nullcontext() if keep else TemporaryFile(dir=folder) as file:
        copies: Vector = OnDisk(moved, file) if file else [tensor.detach().clone() for tensor in moved]
        try:
            with steady(model):
                yield copies
        finally:
            move(moved, copies)
    for name, before, now in zip(others, sums, _sums(others.values()), strict=True):
        if str(before) != str(now):  # in words NaN is NaN
            what = "does not move here" if others[name].requires_grad else "is frozen (requires_grad is false)"
            problem = f"{what}, and the network's own code changes it, so measuring would change the network"
            raise WorkError(Refusal(name, problem, advice="make it a buffer (register_buffer): buffers are put back"))


@torch.no_grad()
def _sums(tensors: Iterable[Tensor]) -> list[float]:
    """The sum of each tensor; in pieces, as on a CPU a sum in float64 is one of a copy in float64."""
    scratch = Scratch(torch.float64)
    sums = [torch.stack([scratch.copy(part).sum() for part in all_parts([tensor])]).sum() for tensor in tensors]
    return torch.stack(sums).tolist() if sums else []


def squared_norm(vector: Iterable[Tensor]) -> Tensor:
    """|v|^2 over all tensors, accumulated in float64; a 0-d tensor on the device.

    Example:
        >>> squared_norm([torch.tensor([3.0, 4.0]), torch.tensor(12.0)]).item()
        169.0
    """
    # float32 sums of torch's norm are 1e-4 off for a 512x512x3x3 convolution on a CPU.
    if isinstance(vector, list) and vector[0].is_cuda:
        return torch.stack(torch._foreach_norm(vector, dtype=torch.float64)).square().sum()
    scratch = Scratch(torch.float64)
    return torch.stack([torch.linalg.vector_norm(scratch.copy(part)) for part in all_parts(vector)]).square().sum()


def dot(first: Vector, second: Vector) -> Tensor:
    """<u, v> over all tensors, accumulated in float64; a 0-d tensor on the device.

    Example:
        >>> dot([torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 4.0])]).item()
        11.0
    """
    one, other = Scratch(torch.float64), Scratch(torch.float64)
    pairs = zip(all_parts(first), all_parts(second), strict=True)
    return torch.stack([one.copy(u).mul_(other.copy(v)).sum() for u, v in pairs]).sum()


def penalty(parameters: Vector, weight_decay: float) -> Tensor:
    """weight_decay / 2 * |theta|^2, the term whose gradient is the weight decay of SGD and Adam.

    Example:
        >>> penalty([torch.tensor([3.0, 4.0])], weight_decay=0.5).item()
        6.25
    """
    if weight_decay == 0:
        return torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    if parameters[0].is_cuda or any(parameter.dtype in SHORT for parameter in parameters):
        # On a GPU two launches instead of two a tensor: those took longer than the sums themselves. Of 3 million
        # numbers of 0.2 a sum in float16 is infinite.
        return squared_norm([parameter.detach() for parameter in parameters]) * (weight_decay / 2)
    # Every step pays for this one, and weights are tame: sum() adds pairwise, 3e-7 off for 14 million float32
    # numbers, in half the time of a float64 norm.
    squares = [parameter.detach().square().sum() for parameter in parameters]
    return torch.stack(squares).double().sum() * (weight_decay / 2)
