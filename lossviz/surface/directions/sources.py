"""The sources of directions, and a set of directions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from lossviz.data.batch import Batch
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, undisturbed
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.grid import Interval
from lossviz.surface.subspace import Subspace


@dataclass(frozen=True)
class Sources:
    """Where directions come from, beside the network itself.

    Attributes:
        objective: the loss; its network is theta.
        axes: `x`, and of a plane `y`.
        own: the checkpoint that theta is.
        find: from how a configuration names a checkpoint to it.
        path: the checkpoints of the training, in order.
        examples: from a number of training examples, or all, to batches of them.
        learning_rate: of the training; 0.1 without one.
    """

    objective: Objective
    axes: Sequence[str]
    own: Checkpoint
    find: Callable[[str | int], Checkpoint]
    path: Callable[[], list[Checkpoint]]
    examples: Callable[[int | str], Iterable[Batch]]
    learning_rate: float = 0.1

    @contextmanager
    def minibatches(self, examples: int | str) -> Iterator[Iterator[Minibatch]]:
        """Training examples for derivatives of the loss in eval mode; the network is left as it was."""
        with undisturbed(self.objective.model, ()):
            self.objective.model.eval()
            yield (Minibatch(batch, noise=0) for batch in self.examples(examples))


@dataclass(frozen=True)
class DirectionSet:
    """The directions of a scan.

    Attributes:
        vectors: by axis, `x` and perhaps `y`.
        subspace: whose vectors they are, with what they may move.
        ranges: what bounds of `auto` mean, by axis; -1 and 1 where nothing is said.
        facts: what else is known of the directions: x_explained_variance, x_eigenvalue, ...
        waypoints: checkpoints to be marked; theta itself is among them only where it is a part of the path.
        ones: whether 1 is another network, and should be among the points of the grid as 0 is.
        is_path: whether the waypoints of the run (for pca: all of them) follow one another.
        digest: SHA-256 of directions that are drawn again at every point, which no file holds.
    """

    vectors: Mapping[str, Vector]
    subspace: Subspace
    ranges: dict[str, Interval] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    waypoints: list[Checkpoint] = field(default_factory=list)
    ones: bool = False
    is_path: bool = False
    digest: str = ""

    def with_path(self, path: list[Checkpoint]) -> "DirectionSet":
        """The same with the checkpoints of a training marked, after those that are not of it; without any for none."""
        apart = [each for each in self.waypoints if path and not any(each.same_file(other) for other in path)]
        return replace(self, waypoints=[*apart, *path], is_path=bool(path))


def around(positions: Sequence[float], margin: float) -> Interval:
    """The range of some positions with a margin, a share of its length, on both sides."""
    low, high = min(positions), max(positions)
    return low - margin * (high - low), high + margin * (high - low)
