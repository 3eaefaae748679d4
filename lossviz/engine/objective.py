"""The loss as a function of a network's parameters, over a minibatch or a whole split."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.data.minibatches import Minibatch
from lossviz.engine.folding import Folded
from lossviz.seeding import seeded

PerExample = Callable[[Tensor, Tensor], Tensor]
"""From outputs (N, ...) and targets (N, ...) to losses (N,)."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(outputs)[target] of each example, in nats."""
    return functional.cross_entropy(outputs, targets, reduction="none")


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """|output - target|^2 of each example."""
    return (outputs - targets).square().sum(dim=1)


@dataclass(frozen=True)
class Differential:
    """Loss and gradient at a point, on one minibatch; all on the device."""

    loss: Tensor
    gradient: list[Tensor]
    correct: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over examples, its standard error, and the share of wrong answers (%, NaN for regression)."""

    loss: float
    loss_stderr: float
    error: float
    examples: int


class Objective:
    """L(theta) = mean over examples of loss(f_theta(x), y), the data loss, without any penalty."""

    def __init__(self, model: nn.Module, loss: PerExample = cross_entropy) -> None:
        self.model = model
        self.loss = loss
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device
        self._folded: Folded | None = None

    def differentiate(self, batch: Minibatch, parameters: Sequence[Tensor] | None = None) -> Differential:
        """Loss and gradient on a minibatch, with the network in the mode it is in; `.grad` is not touched.

        Args:
            batch: the minibatch.
            parameters: with respect to which; all trainable ones unless given.
        """
        outputs, loss = self.apply(batch)
        wanted = self.parameters if parameters is None else parameters
        gradient = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        return Differential(loss.detach(), list(gradient), _correct(outputs.detach(), batch.targets))

    def apply(self, batch: Minibatch) -> tuple[Tensor, Tensor]:
        """Outputs and mean loss on a minibatch, ready to be differentiated."""
        with torch.enable_grad():
            with seeded(self.device, batch.noise):
                outputs = self.model(batch.inputs)
            return outputs, self.loss(outputs, batch.targets).mean()

    @torch.inference_mode()
    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        """Mean over all examples in eval mode, exact with a ragged last batch.

        BatchNorm is folded into the weights, on a copy. Sums are kept in float64 on the device, and read once
        at the end.
        """
        if self._folded is None:
            self._folded = Folded(self.model)
        model = self._folded.refresh()
        count, sums = 0, torch.zeros(3, dtype=torch.float64, device=self.device)
        for inputs, targets in batches:
            outputs = model(inputs)
            losses = self.loss(outputs, targets).double()
            sums += torch.stack([losses.sum(), losses.square().sum(), _correct(outputs, targets)])
            count += len(targets)
        total, squares, correct = sums.tolist()
        mean = total / count
        variance = max(squares / count - mean * mean, 0.0) if squares < float("inf") else float("nan")
        # The variance of the mean of a sample: s^2 / N with s^2 = N / (N - 1) * variance.
        stderr = (variance / (count - 1)) ** 0.5 if count > 1 else float("nan")
        return Evaluation(mean, stderr, 100 * (count - correct) / count, count)


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many class predictions are right, as float64; NaN where the targets are not classes."""
    if targets.is_floating_point():
        return torch.full((), float("nan"), dtype=torch.float64, device=outputs.device)
    # argmax of NaN is a class like any other; an answer that is not a number is not right.
    right = (outputs.argmax(dim=1) == targets) & ~outputs.isnan().any(dim=1)
    return right.sum(dtype=torch.float64)
