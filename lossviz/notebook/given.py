"""What a person gives to `loss_surface` in Python: batches, directions, and other networks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from lossviz.config.directions import Directions
from lossviz.data.batch import Batch, moved
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.loss import check_pair
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.errors import either, refuse
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions import make_directions
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.subspace import Subspace

GivenDirections = Mapping[str, Mapping[str, Tensor]]
"""By axis, a tensor for each parameter that moves, by its name."""
States = Mapping[str, Mapping[str, Tensor]]
"""Networks by name: their parameters and buffers."""


@dataclass(frozen=True)
class GivenBatches:
    """Batches that are gone through anew for every point.

    Attributes:
        given: the iterable.
        objective: the loss of them.
    """

    given: Iterable[Batch]
    objective: Objective

    @property
    def first(self) -> Batch:
        """The first batch, whose size is mostly that of all but the last.

        Raises:
            RequestError: there is none, or it does not go with the loss.
        """
        try:
            batch = next(iter(self.given))
        except StopIteration:
            refuse("batches", "are none", accepted="one batch or more")
        check_pair(self.objective.loss, batch, "batches")
        return moved(batch, self.objective.device)

    def batches(self, size: int | None = None, examples: int | str = "all") -> Iterator[Batch]:
        """On the device.

        Args:
            size: at most so many examples in each, where batches are (inputs, targets); None: as they were given.
            examples: how many, the first ones; or all. Batches that only a closure knows stay whole.
        """
        left = None if examples == "all" else int(examples)
        for given in self.given:
            if left is not None and left <= 0:
                return
            batch = moved(given, self.objective.device)
            if isinstance(self.objective.loss, OfOutputs):
                inputs, targets = batch
                count = len(targets) if left is None else min(len(targets), left)
                for start in range(0, count, size or count):
                    part = slice(start, min(start + (size or count), count))
                    yield inputs[part], targets[part]
            else:
                count = 0 if left is None else self.count(batch)
                yield batch
            left = None if left is None else left - count

    def count(self, batch: Batch) -> int:
        """How many examples a batch has."""
        return without_gradients(partial(self.objective.examples, self.objective.model, batch))


def find_directions(
    wanted: Directions | GivenDirections,
    subspace: Subspace,
    axes: Sequence[str],
    examples: GivenBatches,
    states: States,
) -> DirectionSet:
    """The directions of a section of the configuration, or those that are given themselves.

    Args:
        wanted: either.
        subspace: all of the network that may move.
        axes: `x`, and of a plane `y`.
        examples: over which the loss is the mean.
        states: what names of checkpoints mean.

    Raises:
        RequestError: a checkpoint is not there, or a direction does not fit or is zero.
    """
    if isinstance(wanted, Mapping):
        return _given(subspace, wanted, axes)
    networks = {name: Checkpoint(name, Path(name), state=state) for name, state in states.items()}

    def find(name: str | int) -> Checkpoint:
        if name in networks:
            return networks[str(name)]
        if not Path(str(name)).is_file():
            accepted = either([*networks, "a path"])
            refuse("directions.checkpoints", f"{name}: there is no such network", accepted=accepted)
        return Checkpoint(str(name), Path(str(name)))

    own = Checkpoint("the network itself", Path("the network itself"), state={})
    batches = partial(examples.batches, None)
    sources = Sources(examples.objective, axes, own, find, lambda: list(networks.values()), batches)
    return make_directions(wanted, subspace, sources)


def _given(subspace: Subspace, directions: GivenDirections, axes: Sequence[str]) -> DirectionSet:
    """Directions by axis and name of the tensor; what no axis names stays."""
    shapes = {each.name: each.tensor.shape for each in subspace.tensors}
    for axis in axes:
        if axis not in directions:
            advice = "a kind, such as gradient, is an object: Gradient() of lossviz.config.directions"
            accepted = "one mapping of parameters for each axis"
            refuse("directions", f"has no {axis}", accepted=accepted, advice=advice if "kind" in directions else "")
        for name, part in directions[axis].items():
            if name not in shapes:
                advice = f"there are: {', '.join(shapes)}"
                refuse(f"directions[{axis!r}]", f"the network has no parameter {name}", advice=advice)
            if part.shape != shapes[name]:
                problem = f"is {tuple(part.shape)}, and the parameter {tuple(shapes[name])}"
                refuse(f"directions[{axis!r}][{name!r}]", problem)
        if not any(part.any() for part in directions[axis].values()):
            refuse("directions", f"that of {axis} is zero in every parameter")
    zeros = dict(zip(shapes, subspace.zeros(), strict=True))
    vectors = {axis: subspace.like([{**zeros, **directions[axis]}[name] for name in shapes]) for axis in axes}
    return DirectionSet(vectors, subspace.only({name for axis in axes for name in directions[axis]}))
