"""The mean loss of a network over examples, without gradients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from lossviz.data.batch import Batch
from lossviz.engine.terms import Losses, Term

T = TypeVar("T")
Batches = Callable[[], Iterable[Batch]]
"""Every call starts from the first batch."""


class Mean(NamedTuple):
    """Mean loss over examples and its standard error.

    Attributes:
        loss: the mean.
        stderr: NaN where it is not known.
        weight: what the mean divides by: the number of examples, or the sum of their counts.
    """

    loss: float
    stderr: float
    weight: float


@dataclass(frozen=True)
class Evaluation:
    """Mean loss over examples, its standard error, and the share of wrong answers (%, NaN for regression).

    Attributes:
        examples: how many there were, without those whose label the loss ignores.
        weight: of the mean in one over several parts; see `Mean`.
        terms: further losses by name.
    """

    loss: float
    loss_stderr: float
    error: float
    examples: int
    weight: float
    terms: Mapping[str, Mean] = field(default_factory=dict)


def evaluate(losses: Callable[[Batch], Losses], batches: Iterable[Batch]) -> Evaluation:
    """Mean over all examples, exact with a ragged last batch.

    The losses of the examples are added once, in float64, whatever batches they came in: the batch size changes the
    mean only by what it changes in the outputs. The host waits for the device at the end only.

    Examples that do not count (their label is ignored, or their count is 0) are left out of mean, standard error and
    error, as torch's own `reduction="mean"` leaves them out; all numbers are NaN where none is left.

    Where examples have counts c_i beside their sums s_i, the mean is the ratio R = sum s_i / sum c_i, and its standard
    error that of its linearisation, sqrt(N / (N - 1) * sum (s_i - R c_i)^2) / sum c_i (Cochran 1977, equation 2.46,
    without the correction for finite populations).

    Without gradients of the parameters; network and loss may differentiate by their inputs (forces, residuals of
    differential equations). torch's inference mode would forbid that, and is no faster (docs/measured.md).

    Args:
        losses: of a batch, by a network in the mode in which the loss is meant.
        batches: one or more.
    """
    terms: dict[str, list[Term]] = {}
    rights, counted = [], []
    for batch in batches:
        found = without_gradients(partial(losses, batch))
        rights.append(found.correct)
        counted.append(found.counted)
        for name, term in {"": found.term, **found.others}.items():
            counts = None if term.counts is None else term.counts.detach()
            terms.setdefault(name, []).append(Term(term.sums.detach().double(), counts))
    means = {name: _mean(parts, counted if not name else ()) for name, parts in terms.items()}
    mean, examples = means.pop("")
    right = float(torch.stack(rights).sum())
    error = 100 * (examples - right) / examples if examples else float("nan")
    others = {name: other for name, (other, _) in means.items()}
    return Evaluation(mean.loss, mean.stderr, error, examples, mean.weight, others)


def _mean(parts: Sequence[Term], counted: Sequence[Tensor | None]) -> tuple[Mean, int]:
    """Mean and number of examples that count."""
    sums = torch.cat([part.sums for part in parts])
    if all(part.counts is None for part in parts):
        if any(each is not None for each in counted):
            sums = sums[torch.cat([each for each in counted if each is not None])]
        count, mean = len(sums), sums.mean()
        weight, away = sums.new_full((), count), sums - mean
    else:
        counts = torch.cat([torch.ones_like(p.sums) if p.counts is None else p.counts.double() for p in parts])
        sums, counts = sums[counts > 0], counts[counts > 0]
        count, weight = len(sums), counts.sum()
        mean = sums.sum() / weight
        away = (sums - mean * counts) * (count / weight)
    # The variance of the mean of a sample: s^2 / N with s^2 = sum of (loss - mean)^2 / (N - 1).
    loss, total, whole = torch.stack([mean, away.square().sum(), weight]).tolist()
    stderr = (total / (count * (count - 1))) ** 0.5 if count > 1 and total < float("inf") else float("nan")
    return Mean(loss, stderr, whole), count


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
