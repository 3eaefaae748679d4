"""The mean loss of a network over examples, without gradients."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

PerExample = Callable[[Tensor, Tensor], Tensor]
"""From outputs (N, ...) and targets (N, ...) to losses (N,)."""
Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Inputs and targets, anew at every call."""


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over examples, its standard error, and the share of wrong answers (%, NaN for regression)."""

    loss: float
    loss_stderr: float
    error: float
    examples: int


@torch.inference_mode()
def evaluate(
    forward: Callable[[Tensor], Tensor], loss: PerExample, batches: Iterable[tuple[Tensor, Tensor]]
) -> Evaluation:
    """Mean over all examples, exact with a ragged last batch.

    The losses of the examples are added once, in float64, whatever batches they came in: the batch size changes the
    mean only by what it changes in the outputs. The device is waited for at the end only.

    Args:
        forward: from inputs to outputs, in the mode in which the loss is meant.
        loss: of each example.
        batches: one or more.
    """
    parts, rights = [], []
    for inputs, targets in batches:
        outputs = forward(inputs)
        parts.append(loss(outputs, targets).double())
        rights.append(correct(outputs, targets))
    losses = torch.cat(parts)
    count = len(losses)
    mean = losses.mean()
    # The variance of the mean of a sample: s^2 / N with s^2 = sum of (loss - mean)^2 / (N - 1).
    squares = (losses - mean).square().sum()
    loss_mean, total, right = torch.stack([mean, squares, torch.stack(rights).sum()]).tolist()
    stderr = (total / (count * (count - 1))) ** 0.5 if count > 1 and total < float("inf") else float("nan")
    return Evaluation(loss_mean, stderr, 100 * (count - right) / count, count)


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many class predictions are right, as float64; NaN where targets or outputs are not those of classes."""
    if targets.is_floating_point() or outputs.dim() != 2 or outputs.shape[1] < 2 or targets.dim() != 1:
        return torch.full((), float("nan"), dtype=torch.float64, device=outputs.device)
    # argmax of NaN is a class like any other; an answer that is not a number is not right.
    right = (outputs.argmax(dim=1) == targets) & ~outputs.isnan().any(dim=1)
    return right.sum(dtype=torch.float64)
