"""The loss of sequences of tokens, for targets that are whole numbers (N, T)."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from lossviz.data.batch import Batch
from lossviz.engine.losses import OfModel, OfOutputs
from lossviz.engine.outputs import IGNORED, scores
from lossviz.engine.precision import Precision
from lossviz.engine.terms import Losses, Term
from lossviz.errors import refuse


class OfTokens(OfModel):
    """-log softmax(outputs)[target] in nats, whose mean is over the tokens of all sequences.

    A batch is (inputs, targets), and outputs are scores (N, T, tokens). Targets that are `IGNORED`, as in padding, do
    not count. How much of a sequence is right is the share of its tokens that are.
    """

    def __init__(self) -> None:
        super().__init__(token_losses)

    def losses(self, network: nn.Module, precision: Precision) -> Callable[[Batch], Losses]:
        """From a batch to its losses."""

        def of_batch(batch: Batch) -> Losses:
            inputs, targets = batch
            with precision.mixed():
                outputs = scores(network(inputs))
            return _judged(precision.widened(outputs), targets)

        return of_batch

    def few(self, batch: Batch, count: int) -> Batch:
        """The first sequences of a batch."""
        inputs, targets = batch
        return inputs[:count], targets[:count]


class ByTargets(OfOutputs):
    """The loss of outputs that the targets suggest, which for sequences of tokens is the one above."""

    def judged(self, forward: Callable[[Tensor], Tensor]) -> Callable[[Batch], Losses]:
        """From a batch to the losses of a forward pass."""
        others = super().judged(forward)

        def of_batch(batch: Batch) -> Losses:
            inputs, targets = batch
            return _judged(forward(inputs), targets) if are_sequences(targets) else others(batch)

        return of_batch

    def sizes(self, batch: Batch) -> tuple[float, float] | None:
        """As `Losses.sizes`: of sequences these are numbers of tokens."""
        return None if are_sequences(batch[1]) else super().sizes(batch)


def are_sequences(targets: Tensor) -> bool:
    """Whether targets are sequences of classes, (N, T)."""
    return targets.dim() == 2 and not targets.is_floating_point()


def token_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The sum of a sequence's losses, and how many tokens count, (N,) each: the same as a loss of the model."""
    term = _judged(scores(model(batch[0])), batch[1]).term
    assert term.counts is not None
    return term.sums, term.counts


def _judged(outputs: Tensor, targets: Tensor) -> Losses:
    if outputs.dim() != 3 or outputs.shape[:2] != targets.shape:
        problem = f"the network has outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}"
        refuse(problem, accepted="scores of all tokens at every place, (N, T, tokens)")
    losses = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=IGNORED)
    counted = targets != IGNORED
    counts = counted.sum(dim=1)
    right = (outputs.argmax(dim=2) == targets) & counted & ~outputs.isnan().any(dim=2)
    shares = right.sum(dim=1).double() / counts.clamp(min=1)
    return Losses(Term(losses.view_as(targets).sum(dim=1), counts), shares.sum())
