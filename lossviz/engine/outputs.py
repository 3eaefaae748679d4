"""What is computed of the outputs of a network and their targets: losses, and how many answers are right."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lossviz.errors import refuse

PerExample = Callable[[Tensor, Tensor], Tensor]
"""From outputs (N, ...) and targets (N, ...) to losses (N,)."""

# The label that torch's losses leave out unless they are told another one.
IGNORED = -100


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(outputs)[target] of each example, in nats.

    Example:
        >>> cross_entropy(torch.zeros(1, 10), torch.tensor([3])).item()  # log 10
        2.302585...
    """
    return functional.cross_entropy(outputs, targets, reduction="none")


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """|output - target|^2 of each example."""
    return (outputs - targets).square().sum(dim=1)


def scores(outputs: object) -> Tensor:
    """The outputs of a network, or those that Hugging Face's networks call the logits.

    Raises:
        RequestError: they are not one tensor.
    """
    found = getattr(outputs, "logits", outputs)
    if not isinstance(found, Tensor):
        advice = "a loss(model, batch), known by the name `model` of its first parameter, may take any other outputs"
        accepted = "one torch.Tensor, one row an example"
        refuse(f"the network returns {type(found).__name__}", accepted=accepted, advice=advice)
    return found


def ignored_label(loss: Callable[..., Any]) -> int:
    """The label whose examples a loss leaves out.

    It is the loss's `ignore_index`: an attribute, as torch.nn.CrossEntropyLoss has, or the value of an argument, given
    by functools.partial or by default; -100 where the loss has none.

    Example:
        >>> ignored_label(torch.nn.CrossEntropyLoss(ignore_index=255)), ignored_label(torch.nn.functional.mse_loss)
        (255, -100)
    """
    try:
        argument = inspect.signature(loss).parameters.get("ignore_index")
    except ValueError:  # a builtin function
        argument = None
    given = getattr(loss, "ignore_index", argument.default if argument else None)
    return given if isinstance(given, int) else IGNORED


def are_classes(outputs: Tensor, targets: Tensor) -> bool:
    """Whether outputs (N, K) are scores of K > 1 classes (real ones), and targets (N,) are labels."""
    labels = not targets.is_floating_point() and targets.dim() == 1
    return labels and outputs.dim() == 2 and outputs.shape[1] > 1 and not outputs.is_complex()


def right_answers(outputs: Tensor, targets: Tensor) -> Tensor:
    """Which class predictions are right, (N,)."""
    # argmax of NaN is a class like any other; an answer that is not a number is not right.
    return (outputs.argmax(dim=1) == targets) & ~outputs.isnan().any(dim=1)


def count_right(outputs: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """How many class predictions are right among the examples that count, float64 ()."""
    return (right_answers(outputs, targets) & counted).sum(dtype=torch.float64)
