"""What a network that somebody brings cannot be, said alike in Python and by the command line."""

import torch
from torch import nn
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
    return None if trained else ("has no trainable parameter", "one or more: model.requires_grad_(True)")
