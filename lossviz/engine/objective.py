"""The loss as a function of a network's parameters, over a minibatch or a whole split."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.data.minibatches import Minibatch
from lossviz.engine.backend import full_precision
from lossviz.engine.evaluation import Evaluation, PerExample, correct, evaluate
from lossviz.engine.folding import Folded, foldable
from lossviz.engine.state import steady
from lossviz.engine.trust import EXAMPLES, TOLERANCE_OF_SHORT_NUMBERS, TOLERANCES, disagreement
from lossviz.engine.views import over_views
from lossviz.seeding import seeded


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

    Attributes:
        doubts: faster ways to the same numbers that did not give the same, and are not gone; each a line for a person.
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
        self.doubts: list[str] = []

    def with_model(self, model: nn.Module) -> "Objective":
        """The same loss of another network."""
        other = Objective(model, self.loss, self.autocast, views=self.views)
        other.doubts = self.doubts
        return other

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
        """Mean over all examples in eval mode; the network is left bitwise as it was."""
        batches = iter(batches)
        first = next(batches)
        with steady(self.model):
            network = self.follow(first[0])()
            return evaluate(self.precisely(network), self.loss, chain([first], batches))

    def follow(self, inputs: Tensor) -> Callable[[], nn.Module]:
        """A function that returns a network for evaluation; call it again after the parameters moved.

        BatchNorm is folded into the weights, on a copy, where the copy agrees with the network; else, and where there
        is nothing to fold, it is the network itself.

        Args:
            inputs: real ones, on which both are compared at the present parameters.

        The network is put in eval mode; the caller puts it back.
        """
        self.model.eval()
        # A network that is compiled for training is evaluated as it is written: a copy is.
        if self._foldable or self.model._compiled_call_impl is not None:
            folded = Folded(self.model, self._foldable)
            reason = self._disagreement(folded.refresh(), inputs)
            if not reason:
                return folded.refresh
            self._foldable = []
            self.doubts.append(f"BatchNorm is not folded into the weights, which is slower: {reason}")
        return self.model.eval

    def _disagreement(self, faster: nn.Module, inputs: Tensor) -> str:
        """How a copy departs from the network; both in full precision, which shows it best."""
        exact = self.in_full_precision()
        with full_precision():
            plain = exact.precisely(self.model._call_impl)
            return disagreement(exact.precisely(faster), plain, inputs[:EXAMPLES], exact.tolerance)

    @property
    def tolerance(self) -> float:
        """The relative difference within which two ways to compute the same outputs agree."""
        tf32 = self.device.type == "cuda" and torch.backends.cudnn.allow_tf32
        dtype = torch.bfloat16 if tf32 else self.autocast or self.parameters[0].dtype
        return TOLERANCES.get(dtype, TOLERANCE_OF_SHORT_NUMBERS)

    @cached_property
    def _foldable(self) -> list[tuple[str, str]]:
        return foldable(self.model)

    def precisely(self, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """A forward pass in the objective's precision, over all views, to outputs in which a loss can be computed.

        Of a copy of the inputs: a network may work on them in place, and others come to see them.
        """
        if self.views:
            forward = partial(over_views, forward)

        def of_copy(inputs: Tensor) -> Tensor:
            if self.autocast is None:
                return forward(inputs.clone())
            with torch.autocast(self.device.type, self.autocast):
                outputs = forward(inputs.clone())
            return outputs.to(self.parameters[0].dtype)

        return of_copy
