"""What a network loses on a batch: the terms of its loss, their means, and what these weigh."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from torch import Tensor


class Term(NamedTuple):
    """A loss of some examples.

    Attributes:
        sums: of each example, (N,).
        counts: how many values each of these is the sum of, (N,): the mean is then sum(sums) / sum(counts), which is
            right for sequences of different lengths and for padding. None: one each.
    """

    sums: Tensor
    counts: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """The mean over all values."""
        return self.sums.mean() if self.counts is None else self.sums.sum() / self.counts.sum()

    def part(self, whole: float) -> Tensor:
        """What it adds to the mean over `whole` values: 0 where none of its own counts, and it has no mean itself."""
        return self.sums.mean() * (len(self.sums) / whole) if self.counts is None else self.sums.sum() / whole

    @property
    def weight(self) -> int | Tensor:
        """What the mean divides by: its weight in a mean over several batches."""
        return len(self.sums) if self.counts is None else self.counts.sum()


@dataclass(frozen=True)
class Losses:
    """What a network loses on a batch.

    Attributes:
        term: the loss.
        others: further losses by name, which are measured and not differentiated.
        correct: how many class predictions are right, float64; NaN where there are none.
        counted: which examples count, (N,); None: all. One that the loss ignores adds 0 to a sum.
        outputs: of the network, (N, ...); None where a loss of the model keeps them to itself.
    """

    term: Term
    correct: Tensor
    others: Mapping[str, Term] = field(default_factory=dict)
    counted: Tensor | None = None
    outputs: Tensor | None = None

    @cached_property
    def mean(self) -> Tensor:
        """The loss: its mean over the batch."""
        return self.term.mean

    @property
    def terms(self) -> list[Term]:
        """The loss and the further ones."""
        return [self.term, *self.others.values()]

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.term.sums)

    @property
    def counting(self) -> int:
        """How many of them count."""
        return self.examples if self.counted is None else int(self.counted.sum())

    @property
    def seen(self) -> Tensor:
        """What tells one way to compute the losses from another: the outputs, or else the losses."""
        return self.term.sums if self.outputs is None else self.outputs

    def sizes(self) -> tuple[float, float]:
        """What the mean was divided by, and by how much it should have been: by the examples that count."""
        weight = float(self.term.weight)
        return weight, weight if self.counted is None else float(self.counted.sum())
