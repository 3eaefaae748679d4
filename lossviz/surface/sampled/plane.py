"""The loss on a line or plane from as many examples at each point as an accuracy needs."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossviz.data.batch import Batch
from lossviz.data.load import AnySplit
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.outputs import are_classes, right_answers
from lossviz.surface.forward import Forward
from lossviz.surface.grid import Grid, Index, Quantities
from lossviz.surface.plane import LossPlane
from lossviz.surface.sampled.estimator import Values
from lossviz.surface.sampled.files import Seen
from lossviz.surface.sampled.lattice import Lattice, interpolate
from lossviz.surface.sampled.point import Oracle
from lossviz.surface.sampled.sampling import SHARE_OF_CONTROL, Accuracy, Sample, sample


def sampled_quantities(prefixes: Iterable[str]) -> list[str]:
    """Names of what a point gives, in the order of result files."""
    names = ("loss", "loss_stderr", "error", "error_stderr", "examples", "precise_examples", "loss_deviation")
    return [*(f"{prefix}{name}" for prefix in prefixes for name in names), "penalty"]


@dataclass(frozen=True)
class SamplingTask:
    """What is sampled, and how well.

    Attributes:
        splits: all examples in the order that the points share, by the prefix of their quantities' names.
        accuracy: of the loss of each.
        unseen_loss: of an example of which a network knows nothing: log K of K classes, or 0 where nobody can say.
    """

    splits: Mapping[str, AnySplit]
    accuracy: Accuracy
    unseen_loss: float = 0.0


def _nothing(index: Index) -> Seen:
    raise KeyError(index)


@dataclass(frozen=True, eq=False)
class SampledPlane:
    """Estimates at the points of a grid: coarse points by themselves, the others beside the coarse ones around them.

    Attributes:
        plane: gives the network of a point.
        sampling: of what, to which accuracy.
        grid: whose points they are.
        low: forward passes in a low precision, where these are faster.
        seen: what was seen at a coarse point; every point but these needs that of those around it.
    """

    plane: LossPlane
    sampling: SamplingTask
    grid: Grid
    low: Forward | None = None
    seen: Callable[[Index], Seen] = _nothing

    def __call__(self, index: Index) -> tuple[Quantities, Seen]:
        """The quantities of a point, and the seconds it took; at a coarse point also what was seen there."""
        started = time.perf_counter()
        accuracy, coarse = self.sampling.accuracy, index in self.lattice
        where = self.grid.place(index)
        wanted = accuracy.tighter(SHARE_OF_CONTROL) if coarse else accuracy
        found = self.plane.with_network(**where, compute=partial(self._sample, index, wanted, coarse=coarse))
        seen = {prefix: each.values for prefix, each in found.items()} if coarse else {}
        values: dict[str, float | Values] = {"penalty": self.plane.penalty(**where)}
        for prefix, each in found.items():
            values |= {f"{prefix}{name}": value for name, value in _quantities(each).items()}
        return values | {"seconds": time.perf_counter() - started}, seen

    @cached_property
    def lattice(self) -> Lattice:
        """The coarse points."""
        return Lattice(self.grid.status.shape)

    def _sample(self, index: Index, accuracy: Accuracy, network: nn.Module, *, coarse: bool) -> dict[str, Sample]:
        found = {}
        if self.low is not None:  # where memory ran out, of both
            self.low.take_batches_of(min(self.low.plan.batch_size, self.plane.forward.plan.batch_size))
        for prefix, split in self.sampling.splits.items():
            low = None if self.low is None else oracle_of(self.low, network, split)
            oracle = oracle_of(self.plane.forward, network, split)
            controls = () if coarse else self._controls(index, prefix)
            found[prefix] = sample(oracle, len(split), accuracy, controls, low, self.sampling.unseen_loss)
        return found

    def _controls(self, index: Index, prefix: str) -> Sequence[Values]:
        around = self.lattice.around(index)
        parents = [self.seen(each)[prefix] for each in around]
        if not all(np.isfinite(parent[:, 0]).all() for parent in parents):
            return ()  # nothing is estimated from a loss that is not finite
        return interpolate(parents, list(around.values()))


def oracle_of(forward: Forward, network: nn.Module, split: AnySplit) -> Oracle:
    """Losses and wrong answers of examples, by a network."""
    losses, size = forward(network), forward.plan.batch_size

    def evaluated(batch: Batch) -> Tensor:
        found = losses(batch)
        own = found.term.sums.detach().double()
        if found.outputs is None or not are_classes(found.outputs, batch[1]):
            return torch.stack([own, torch.full_like(own, math.nan)], dim=1)
        return torch.stack([own, 1 - right_answers(found.outputs.detach(), batch[1]).double()], dim=1)

    def seen(places: NDArray[np.intp]) -> Values:
        part = split.take(torch.from_numpy(places).to(split.device))
        found = [without_gradients(partial(evaluated, batch)) for batch in part.batches(size)]
        values: Values = torch.cat(found).cpu().numpy()
        return values

    return seen


def _quantities(found: Sample) -> dict[str, float | Values]:
    return {
        **{"loss": found.loss.mean, "loss_stderr": found.loss.stderr, "loss_deviation": found.loss.deviations},
        **{"error": 100 * found.wrong.mean, "error_stderr": 100 * found.wrong.stderr},
        **{"examples": len(found.values), "precise_examples": found.precise},
    }
