"""The loss as a function of a network's parameters, over a minibatch or a whole split."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

import torch
from torch import Tensor, nn

from lossviz.data.batch import Batch
from lossviz.data.minibatches import Minibatch
from lossviz.engine.backend import allows_tf32, full_precision
from lossviz.engine.evaluation import Evaluation, evaluate
from lossviz.engine.folding import Folded, foldable
from lossviz.engine.graph import refuse_reentrant
from lossviz.engine.losses import Closure, Loss, OfModel, loss_of
from lossviz.engine.outputs import PerExample, cross_entropy
from lossviz.engine.precision import Precision
from lossviz.engine.state import steady
from lossviz.engine.terms import Losses
from lossviz.engine.trust import EXAMPLES, TOLERANCE_OF_SHORT_NUMBERS, TOLERANCES, disagreement
from lossviz.models.duplicate import emptied
from lossviz.seeding import seeded


@dataclass(frozen=True)
class Differential:
    """Loss and gradient at a point, on one minibatch; all on the device.

    Attributes:
        loss: times its weight, if it has one.
        gradient: of that.
        losses: of the examples, with their graph freed.
    """

    loss: Tensor
    gradient: list[Tensor]
    losses: Losses

    @property
    def correct(self) -> Tensor:
        """How many class predictions are right."""
        return self.losses.correct


def dense(gradient: Iterable[Tensor]) -> list[Tensor]:
    """A gradient as tensors of the shapes of the parameters: that of nn.Embedding(sparse=True) is sparse."""
    return [part if part.layout == torch.strided else part.to_dense() for part in gradient]


class Objective:
    """L(theta) = mean over examples of their losses, the data loss, without any penalty.

    Args:
        model: f_theta.
        loss: of the outputs f_theta(x) and the targets, or of the model and a batch; see `losses.loss_of`.
        autocast: the dtype of automatic mixed precision; None: all in the dtype of the parameters.

    Attributes:
        doubts: faster ways to the same numbers that did not give the same, and are not gone; each a line for a person.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: PerExample | Closure | Loss = cross_entropy,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model = model
        self.loss = loss_of(loss)
        self.autocast = autocast
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device
        self.doubts: list[str] = []
        self._looked_at = False
        self._takes_more: bool | None = None

    def with_model(self, model: nn.Module) -> "Objective":
        """The same loss of another network."""
        other = Objective(model, self.loss, self.autocast)
        other.doubts = self.doubts
        return other

    def in_bfloat16(self) -> "Objective":
        """The same loss of the same network in automatic mixed precision."""
        return Objective(self.model, self.loss, torch.bfloat16)

    def in_full_precision(self) -> "Objective":
        """The same loss of the same network without automatic mixed precision."""
        return Objective(self.model, self.loss)

    def losses(self, network: nn.Module) -> Callable[[Batch], Losses]:
        """From a batch to its losses by a network, in the objective's precision."""
        return self.loss.losses(network, self.precision)

    def watched(self, network: nn.Module) -> Callable[[Batch], Losses]:
        """The same with the outputs of the network, where a loss of the model calls it."""
        return self.loss.watched(network, self.precision)

    def outputs(self, network: nn.Module) -> Callable[[Batch], Tensor]:
        """From a batch to what shows whether two networks are one: outputs, or the losses where these are hidden."""
        return self.loss.outputs(network, self.precision)

    @property
    def precision(self) -> Precision:
        """That of a forward pass."""
        return Precision(self.device, self.parameters[0].dtype, self.autocast)

    def differentiate(
        self, batch: Minibatch, parameters: Sequence[Tensor] | None = None, examples: int | None = None
    ) -> Differential:
        """Loss and gradient on a minibatch, with the network in the mode it is in; `.grad` is not touched.

        Args:
            batch: the minibatch.
            parameters: with respect to which; all trainable ones unless given.
            examples: of the whole minibatch, where this is a part of it: loss and gradient are then weighted by the
                part's own weight over that number.
        """
        losses = self.apply(batch)
        loss = losses.mean if examples is None else losses.term.part(examples)
        wanted = self.parameters if parameters is None else parameters
        gradient = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        return Differential(loss.detach(), dense(gradient), losses)

    def apply(self, batch: Minibatch) -> Losses:
        """The losses of a minibatch, ready to be differentiated.

        Raises:
            RequestError: a gradient would lack some of the parameters; see `refuse_reentrant`.
        """
        with torch.enable_grad(), nullcontext() if batch.noise is None else seeded(self.device, batch.noise):
            losses = self.losses(self.model)(batch.batch)
            mean = losses.mean  # kept, with its graph
            # Once: 0.4 ms for ResNet-50. Here, as a network may checkpoint in training mode only.
            if not self._looked_at:
                refuse_reentrant(mean)
                self._looked_at = True
            return losses

    def sizes(self, batch: Minibatch) -> tuple[float, float]:
        """As `Losses.sizes`, of a minibatch that is not differentiated."""
        known = self.loss.sizes(batch.batch)
        if known is not None:
            return known
        with steady(self.model):
            return self.apply(batch).sizes()

    def examples(self, network: nn.Module, batch: Batch) -> int:
        """How many examples a batch has."""
        return self.loss.examples(batch) or self.losses(network)(batch).examples

    def evaluate(self, batches: Iterable[Batch]) -> Evaluation:
        """Mean over all examples in eval mode; the network is left bitwise as it was."""
        batches = iter(batches)
        first = next(batches)
        with steady(self.model):
            network = self.follow(first)()
            return evaluate(self.losses(network), chain([first], batches))

    def follow(self, batch: Batch) -> Callable[[], nn.Module]:
        """A function that returns a network for evaluation; call it again after the parameters moved.

        BatchNorm is folded into the weights, on a copy, where the copy agrees with the network; else, and where there
        is nothing to fold, it is the network itself.

        Args:
            batch: real examples, on which both are compared at the present parameters.

        The network is put in eval mode; the caller puts it back.
        """
        self.model.eval()
        # A network that is compiled for training is evaluated as it is written: a copy is.
        if self.folded or self.model._compiled_call_impl is not None:
            folded = Folded(self.model, self.folded)
            reason = self._disagreement(folded.refresh(), self.loss.few(batch, EXAMPLES))
            if not reason:
                return folded.refresh
            self.folded = []
            self.doubts.append(f"BatchNorm is not folded into the weights, which is slower: {reason}")
        return self.model.eval

    def _disagreement(self, faster: nn.Module, few: Batch) -> str:
        """How a copy departs from the network; both in full precision, which shows it best."""
        exact = self.in_full_precision()
        with full_precision(), _as_written(self.model):
            if self._takes_more is None:  # of loss and network, at any point
                self._takes_more = bool(self.folded) and isinstance(self.loss, OfModel) and exact._reads_weights(few)
            if self._takes_more:
                return "the loss takes more of the network than what it returns"
            return disagreement(exact.outputs(faster), exact.outputs(self.model), few, exact.tolerance)

    def _reads_weights(self, batch: Batch) -> bool:
        """Whether a loss of the model depends on more than what calls of the network and its whole parts return.

        Such as a penalty of the weights, or the outputs of a layer before its BatchNorm. With an emptied copy they are
        NaN, however little they add: at a BatchNorm that is nearly the identity folded weights would hardly show it.
        """

        def sums(network: Callable[[], nn.Module]) -> Callable[[Batch], Tensor]:
            return lambda batch: torch.cat([term.sums for term in self.losses(network())(batch).terms])

        # What a part returns is the same when it is folded, if no layer is parted from its BatchNorm.
        whole = [
            module
            for part, module in self.model.named_modules()
            if all(_is_within(layer, part) == _is_within(norm, part) for layer, norm in self.folded)
        ]
        empty = partial(emptied, self.model, whole)
        return bool(disagreement(sums(empty), sums(lambda: self.model), batch, self.tolerance))

    @property
    def tolerance(self) -> float:
        """The relative difference within which two ways to compute the same outputs agree."""
        tf32 = self.device.type == "cuda" and allows_tf32()
        dtype = torch.bfloat16 if tf32 else self.autocast or self.parameters[0].dtype
        return TOLERANCES.get(dtype, TOLERANCE_OF_SHORT_NUMBERS)

    @cached_property
    def folded(self) -> list[tuple[str, str]]:
        """The layers, and the BatchNorms after them, that are one layer where the network is followed, by name."""
        return foldable(self.model)


def _is_within(name: str, part: str) -> bool:
    return not part or f"{name}.".startswith(f"{part}.")


@contextmanager
def _as_written(model: nn.Module) -> Iterator[None]:
    """Call a network without its compiled form."""
    compiled, model._compiled_call_impl = model._compiled_call_impl, None
    try:
        yield
    finally:
        model._compiled_call_impl = compiled
