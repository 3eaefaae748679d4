"""The loss as a function of a network's parameters, over a minibatch or a whole split."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.data.minibatches import Minibatch
from lossviz.engine.evaluation import Evaluation, PerExample, correct, evaluate
from lossviz.engine.folding import Folded
from lossviz.engine.views import over_views
from lossviz.seeding import seeded


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


class Objective:
    """L(theta) = mean over examples of loss(f_theta(x), y), the data loss, without any penalty.

    Args:
        model: f_theta.
        loss: of each example.
        autocast: the dtype of automatic mixed precision; None: all in the dtype of the parameters.
        views: whether inputs of five dimensions are several views of each image, as in ten-crop evaluation.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: PerExample = cross_entropy,
        autocast: torch.dtype | None = None,
        *,
        views: bool = False,
    ) -> None:
        self.model = model
        self.loss = loss
        self.autocast = autocast
        self.views = views
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device

    def with_model(self, model: nn.Module) -> "Objective":
        """The same loss of another network."""
        return Objective(model, self.loss, self.autocast, views=self.views)

    def in_full_precision(self) -> "Objective":
        """The same loss of the same network without automatic mixed precision."""
        return Objective(self.model, self.loss, views=self.views)

    def differentiate(
        self, batch: Minibatch, parameters: Sequence[Tensor] | None = None, weight: float = 1.0
    ) -> Differential:
        """Loss and gradient on a minibatch, with the network in the mode it is in; `.grad` is not touched.

        Args:
            batch: the minibatch.
            parameters: with respect to which; all trainable ones unless given.
            weight: of the loss, as where this is a part of a minibatch.
        """
        outputs, loss = self.apply(batch)
        wanted = self.parameters if parameters is None else parameters
        scale = torch.full_like(loss, weight)
        gradient = torch.autograd.grad(loss, wanted, scale, allow_unused=True, materialize_grads=True)
        return Differential(loss.detach() * weight, list(gradient), correct(outputs.detach(), batch.targets))

    def apply(self, batch: Minibatch) -> tuple[Tensor, Tensor]:
        """Outputs and mean loss on a minibatch, ready to be differentiated."""
        with torch.enable_grad():
            with nullcontext() if batch.noise is None else seeded(self.device, batch.noise):
                outputs = self.precisely(self.model)(batch.inputs)
            return outputs, self.loss(outputs, batch.targets).mean()

    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        """Mean over all examples in eval mode; BatchNorm is folded into the weights, on a copy."""
        return evaluate(self.precisely(self.folded.refresh()), self.loss, batches)

    @cached_property
    def folded(self) -> Folded:
        """The copy that is evaluated."""
        return Folded(self.model)

    def precisely(self, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A forward pass in the objective's precision, over all views, to outputs in which a loss can be computed."""
        if self.views:
            forward = partial(over_views, forward)
        if self.autocast is None:
            return forward

        def mixed(inputs: Tensor) -> Tensor:
            with torch.autocast(self.device.type, self.autocast):
                outputs = forward(inputs)
            return outputs.to(self.parameters[0].dtype)

        return mixed
