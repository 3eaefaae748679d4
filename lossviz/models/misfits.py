"""What a network that somebody brings cannot be, said alike in Python and by the command line."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def misfit(model: object) -> tuple[str, str] | None:
    """Why a network cannot be measured, and what could be; None where it can.

    Example:
        >>> misfit(nn.Linear(2, 3, device="meta"))
        ('has parameters on the device meta, which have no values: weight', 'a network with weights')
    """
    if not isinstance(model, nn.Module):
        return f"is {type(model).__name__}", "a torch.nn.Module"
    if isinstance(model, torch.jit.ScriptModule):
        # They lose their classes, so that normalisation layers would be moved like others.
        return "is of TorchScript, whose layers cannot be told apart", "the torch.nn.Module that it was made of"
    named = dict(model.named_parameters())
    if any(map(is_lazy, named.values())):
        return (
            "has lazy layers, which have no weights yet",
            "one that was called before, or layers with all their sizes",
        )
    empty = [name for name, each in named.items() if each.is_meta]
    if empty:
        return f"has parameters on the device meta, which have no values: {empty[0]}", "a network with weights"
    trained = {name: each for name, each in named.items() if each.requires_grad}
    wide = [name for name, each in trained.items() if each.is_complex()]
    if wide:
        # Filters would be normalised, and norms taken, by the real part alone.
        return f"has complex parameters: {wide[0]}", "real ones, such as torch.view_as_real(w), joined in forward"
    return _shared(named) if trained else ("has no trainable parameter", "one or more: model.requires_grad_(True)")


def _shared(named: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """The misfit of parameters that have numbers in common; none where parts of one tensor lie side by side.

    A copy would have two tensors for them, and here a move of one is a move of both.
    """
    places = {name: each for name, each in named.items() if each.layout == torch.strided and each.data_ptr()}
    end, around = 0, list[str]()
    for name, each in sorted(places.items(), key=lambda place: place[1].data_ptr()):
        around = [*around, name] if each.data_ptr() < end else [name]
        for other in around[:-1]:
            if (each.requires_grad or named[other].requires_grad) and _meet(named[other], each):
                problem = f"has parameters that are not one and lie in the same memory: {other} and {name}"
                return problem, "one Parameter under both names, transposed in forward if need be"
        end = max(end, each.data_ptr() + _length(each) * each.element_size())
    return None


def _meet(first: Tensor, second: Tensor) -> bool:
    """Whether a number of the second is one of the first, which begins where it does or before."""
    apart = (second.data_ptr() - first.data_ptr()) // first.element_size()
    taken = torch.zeros(max(_length(first), apart + _length(second)), dtype=torch.bool, device="cpu")
    taken.as_strided(first.shape, first.stride()).fill_(value=True)
    return bool(taken.as_strided(second.shape, second.stride(), apart).any())


def _length(tensor: Tensor) -> int:
    """How many numbers lie between a tensor's first and last one, with both."""
    return 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
