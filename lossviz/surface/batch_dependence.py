"""Whether the examples beside an example change what a network says of it, and which modules do it."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from lossviz.data.batch import Batch, rows
from lossviz.engine.state import steady
from lossviz.engine.trust import relative_difference
from lossviz.seeding import seeded

# Batches of one shape are computed alike; a norm over the batch moves the outputs by far more.
ROUNDINGS = 100


def depends_on_batch(
    model: nn.Module, forward: Callable[[Batch], Tensor], batch: Batch, others: Batch | None = None
) -> bool:
    """Whether outputs for the first half of a batch change where other examples stand in the second half.

    Both times with the same random numbers and from the same state, so neither dropout is a dependence, nor a spectral
    norm that gets better at every pass. The network is left as it was. False where nobody can tell, because the batch
    is none of tensors with a row for each example.

    Args:
        model: the network.
        forward: from a batch to what is seen of each example: outputs, or losses.
        batch: of examples that are not all the same.
        others: the first half of its examples twice, where the batch itself may not tell how it is taken apart.
    """
    device = next(model.parameters()).device
    with steady(model), seeded(device, 0):
        outputs = forward(batch).detach()
    half = (len(outputs) + 1) // 2
    others = rows(batch, first_half_twice(len(outputs)), len(outputs)) if others is None else others
    if others is None:
        return False
    with steady(model), seeded(device, 0):
        found = forward(others)[:half].detach()
    expected = outputs[:half]
    return relative_difference(found, expected) > ROUNDINGS * torch.finfo(expected.dtype).eps


def first_half_twice(count: int) -> Tensor:
    """Indices of the first half of some examples, and of these again in the place of the second half.

    Example:
        >>> first_half_twice(5).tolist()
        [0, 1, 2, 0, 1]
    """
    half = (count + 1) // 2
    return torch.cat([torch.arange(half), torch.arange(count - half)])


def unknown_norms(
    model: nn.Module, known: Collection[nn.Module], forward: Callable[[Batch], Tensor], batch: Batch
) -> list[str]:
    """Names of further modules that normalise over the batch in training.

    Found by what they do: in training mode, without the known ones, the outputs for an example depend on its batch.
    With gradients on, for some look at that and not at their mode. The network is left as it was.

    Args:
        model: the network.
        known: modules of it that are left out.
        forward: as of `depends_on_batch`.
        batch: real examples.
    """

    def depends() -> bool:
        with torch.enable_grad():
            return depends_on_batch(model, forward, batch)

    with steady(model):
        for module in known:
            vars(module)["forward"] = _same
        model.train()
        if not depends():
            return []
        model.eval()
        found = _of_own_classes(model) if depends() else []
        for name, module in model.named_modules() if not found else ():
            model.eval()
            module.training = True
            if depends():
                found.append(_spelled(name, module))
    return found or [_spelled("", model)]


def _same(*positional: Tensor, **named: Tensor) -> Tensor:
    (inputs,) = (*positional, *named.values())
    return inputs


def _of_own_classes(model: nn.Module) -> list[str]:
    """Modules that are not torch's own; their mode does not tell which of them normalises."""
    own = [pair for pair in model.named_modules() if pair[0] and not type(pair[1]).__module__.startswith("torch.")]
    return [_spelled(*pair) for pair in own]


def _spelled(name: str, module: nn.Module) -> str:
    return f"{name or 'the network'} ({type(module).__name__})"
