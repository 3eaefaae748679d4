"""The mean loss of a network over examples, without gradients."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
PerExample = Callable[[Tensor, Tensor], Tensor]
"""From outputs (N, ...) and targets (N, ...) to losses (N,)."""
Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Inputs and targets; every call starts from the first batch."""

# The label that torch's losses leave out unless they are told another one.
IGNORED = -100


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over examples, its standard error, and the share of wrong answers (%, NaN for regression).

    Attributes:
        examples: how many there were, without those whose label the loss ignores.
    """

    loss: float
    loss_stderr: float
    error: float
    examples: int


def evaluate(
    forward: Callable[[Tensor], Tensor], loss: PerExample, batches: Iterable[tuple[Tensor, Tensor]]
) -> Evaluation:
    """Mean over all examples, exact with a ragged last batch.

    The losses of the examples are added once, in float64, whatever batches they came in: the batch size changes the
    mean only by what it changes in the outputs. The host waits for the device at the end only.

    Examples whose label the loss ignores (`ignored_label`) are left out of mean, standard error and error, as torch's
    own `reduction="mean"` leaves them out; all numbers are NaN where none is left.

    Without gradients of the parameters; network and loss may differentiate by their inputs (forces, residuals of
    differential equations). torch's inference mode would forbid that, and is no faster (docs/measured.md).

    Args:
        forward: from inputs to outputs, in the mode in which the loss is meant.
        loss: of each example.
        batches: one or more.
    """
    parts, rights, counted = [], [], []
    ignored = ignored_label(loss)
    for inputs, targets in batches:
        losses, right, counts = without_gradients(partial(_apply, forward, loss, inputs, targets, ignored))
        parts.append(losses.detach())
        rights.append(right)
        counted.append(counts)
    losses = torch.cat(parts)[torch.cat(counted)]
    count = len(losses)
    mean = losses.mean()
    # The variance of the mean of a sample: s^2 / N with s^2 = sum of (loss - mean)^2 / (N - 1).
    squares = (losses - mean).square().sum()
    loss_mean, total, right = torch.stack([mean, squares, torch.stack(rights).sum()]).tolist()
    stderr = (total / (count * (count - 1))) ** 0.5 if count > 1 and total < float("inf") else float("nan")
    error = 100 * (count - right) / count if count else float("nan")
    return Evaluation(loss_mean, stderr, error, count)


def without_gradients(compute: Callable[[], T]) -> T:
    """What a function computes without gradients, or with them where it differentiates on its way."""
    try:
        with torch.no_grad():
            return compute()
    except RuntimeError as error:
        # torch's words if a gradient is asked for that was not recorded.
        if "does not require grad" not in str(error):
            raise
    with torch.enable_grad():
        return compute()


def _apply(
    forward: Callable[[Tensor], Tensor], loss: PerExample, inputs: Tensor, targets: Tensor, ignored: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of a batch, how many answers are right, and which examples count."""
    outputs = forward(inputs)
    losses = loss(outputs, targets).double()
    counts = targets != ignored if are_classes(outputs, targets) else torch.ones_like(losses, dtype=torch.bool)
    return losses, correct(outputs, targets, ignored), counts


def correct(outputs: Tensor, targets: Tensor, ignored: int = IGNORED) -> Tensor:
    """How many class predictions are right, as float64; NaN where targets or outputs are not those of classes.

    Examples with the label `ignored` are never right.
    """
    if not are_classes(outputs, targets):
        return torch.full((), float("nan"), dtype=torch.float64, device=outputs.device)
    # argmax of NaN is a class like any other; an answer that is not a number is not right.
    right = (outputs.argmax(dim=1) == targets) & (targets != ignored) & ~outputs.isnan().any(dim=1)
    return right.sum(dtype=torch.float64)


def ignored_label(loss: PerExample) -> int:
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
    """Whether outputs (N, K) are scores of K > 1 classes, and targets (N,) are labels."""
    return not targets.is_floating_point() and targets.dim() == 1 and outputs.dim() == 2 and outputs.shape[1] > 1
