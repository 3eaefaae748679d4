"""The plan of a scan, from the `surface` section: resolved once, used for estimates and for computing."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial

import torch

from lossviz.config.directions import Pca, Random
from lossviz.data.batch import Batch
from lossviz.data.iterated import IteratedSplit
from lossviz.data.load import AnySplit
from lossviz.engine.checkpoint import fit
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector
from lossviz.engine.trust import EXAMPLES
from lossviz.errors import refuse
from lossviz.seeding import generator
from lossviz.setup import Setup
from lossviz.surface.attributes import split_names
from lossviz.surface.batch_norm import BatchNormTreatment, treatment_of
from lossviz.surface.checkpoints import Checkpoint, find_checkpoint, run_checkpoints
from lossviz.surface.directions import make_directions
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.forward import ExecutionPlan, Forward, choose_execution, with_low_precision
from lossviz.surface.plane import LossPlane, quantities
from lossviz.surface.prefix import begins_frozen
from lossviz.surface.sampled.order import shared_order
from lossviz.surface.sampled.plane import sampled_quantities
from lossviz.surface.sampled.sampling import PILOT
from lossviz.surface.subspace import Subspace

# Of a sampled scan, to choose its execution: 200 to 5,000 on the official ResNet-56 at 2 %.
SEEN_AT_A_POINT = 500


class ScanPlan:
    """One scan of a run.

    The checkpoint and the examples are found at once; the network is built when it is first needed.

    Attributes:
        setup: the variant.
        config: its `surface` section.
        checkpoint: the centre.
        splits: the examples, by the prefix of their quantities' names: "" and, beside it, "test_".

    Raises:
        RequestError: there is no checkpoint, or there are too few examples.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.config = setup, setup.config.surface
        self.checkpoint = self._find(self.config.checkpoint, "surface.checkpoint")
        names = split_names(self.config.data.split)
        self.splits = dict(zip(("", "test_"), map(self._chosen, names), strict=False))

    @property
    def axes(self) -> tuple[str, ...]:
        """`x`, and of a plane `y`."""
        return ("x", "y") if self.config.y else ("x",)

    @property
    def keeps_directions(self) -> bool:
        """Whether directions are in memory and in a file; else they are drawn again at every point."""
        return not isinstance(self.config.directions, Random) or self.config.directions.keep

    @property
    def points(self) -> int:
        """Number of points of the grid."""
        return self.config.x[2] * (self.config.y[2] if self.config.y else 1)

    @property
    def examples(self) -> int:
        """Examples over which the loss of a point is averaged, on all splits together."""
        return sum(len(split) for split in self.splits.values())

    @property
    def unit(self) -> str:
        """What the length of a split counts: batches, where only these are known."""
        return "batches" if any(isinstance(each, IteratedSplit) for each in self.splits.values()) else "examples"

    @property
    def quantities(self) -> list[str]:
        """Names of the grid's variables, in the order of result files."""
        if self.sampled:
            return sampled_quantities(self.splits)
        return quantities(self.splits, self.config.metrics, self.setup.terms)

    @property
    def sampled(self) -> bool:
        """Whether points take as many examples as their accuracy needs, and not all."""
        return self.config.accuracy != "exact"

    @cached_property
    def objective(self) -> Objective:
        """The loss of the network at the checkpoint, in eval mode.

        Raises:
            RequestError: the checkpoint does not fit the network.
        """
        # Compiled or not is a choice of its own here, and second derivatives need it as it is.
        objective = self.setup.objective(eager=True)
        fit(objective.model, self.checkpoint.load(objective.model), self.checkpoint.path)
        objective.model.eval()
        return objective

    @cached_property
    def subspace(self) -> Subspace:
        """All tensors that may move."""
        return Subspace.of(self.objective.model, statistics=self.config.batch_norm == "interpolate")

    @cached_property
    def treatment(self) -> BatchNormTreatment:
        """BatchNorm at a moved point."""
        few = next(iter(self.splits[""].batches(EXAMPLES)))
        return treatment_of(self.config.batch_norm, self.objective, few, lambda: self._minibatches)

    @cached_property
    def ordered(self) -> dict[str, AnySplit]:
        """The splits, in random order where minibatches give the statistics, or points take a part of the examples.

        Files are often sorted by class.

        Raises:
            RequestError: an example would be alone in its minibatch.
        """
        return {prefix: self._shuffled(split) for prefix, split in self.splits.items()}

    def execution(self, points: int, subspace: Subspace) -> ExecutionPlan:
        """Batch size and compilation for a number of points, where only what a subspace says moves."""
        if self.treatment.by_batch:
            return ExecutionPlan(self._statistics_size, why="the batches that give the statistics")
        # Kept, what comes before the first layer that moves wins more than compiling it; a sampled scan keeps nothing.
        kept = begins_frozen(subspace) and not self.sampled and self.treatment.pairs is not None
        compiled = False if self.config.compile == "auto" and kept else self.config.compile
        wanted = self.config.batch_size, compiled
        network, first = self.treatment.network(), self.splits[""]
        if not self.sampled:
            return choose_execution(self.objective, network, first.batches, points * self.examples, wanted)
        few = min(self.setup.backend.evaluation_batch, PILOT)
        wanted = few if wanted[0] == "auto" else wanted[0], wanted[1]
        plan = choose_execution(self.objective, network, first.batches, points * SEEN_AT_A_POINT, wanted)
        return with_low_precision(plan, self.objective, network, first.batches)

    def directions(self) -> DirectionSet:
        """The directions, and the checkpoints to mark: with `trajectory`, also those of the run."""
        config, train = self.config, self.setup.config.train
        sources = Sources(
            self.objective,
            self.axes,
            self.checkpoint,
            partial(self._find, key="surface.directions.checkpoints"),
            partial(run_checkpoints, self.setup.run),
            self._direction_batches,
            train.lr if train else 0.1,
        )
        found = make_directions(config.directions, self.subspace, sources)
        if isinstance(config.directions, Pca):
            return found if config.trajectory else found.with_path([])
        return found.with_path(self._path()) if config.trajectory is True else found

    def plane(
        self,
        subspace: Subspace,
        directions: Mapping[str, Vector],
        forward: Forward,
        *,
        limit: int | None = None,
        origin: Vector = (),
    ) -> LossPlane:
        """The line or plane through the network.

        Args:
            subspace: with what the directions may move.
            directions: by axis.
            forward: how networks are evaluated.
            limit: of the examples of each split; for estimates, and checkpoints beside a sampled plane.
            origin: a copy of what moves, where there is one already.
        """
        splits = {
            name: split if limit is None else split.take(torch.arange(min(limit, len(split))))
            for name, split in self.ordered.items()
        }
        train = self.setup.config.train
        return LossPlane(
            self.objective,
            subspace,
            directions,
            self.treatment,
            forward,
            {name: partial(_batches, split, forward) for name, split in splits.items()},
            self.config.metrics,
            train.penalty_decay if train else 0.0,
            origin=origin,
        )

    @cached_property
    def _minibatches(self) -> list[Batch]:
        """Training minibatches, from which statistics are re-estimated."""
        wanted = self.config.statistics
        minibatches = self.setup.data.minibatches(wanted.batch_size, self.setup.config.seed)
        return [minibatches(step).batch for step in range(wanted.batches)]

    def _find(self, wanted: str | int, key: str) -> Checkpoint:
        run = self.setup.run
        return find_checkpoint(run, wanted, key, run.command("train", self.setup.allowed))

    def _path(self) -> list[Checkpoint]:
        path = run_checkpoints(self.setup.run)
        if not path:
            problem = f"{self.setup.run.folder} has no checkpoint of its own"
            advice = "the path is that of a training: lossviz train makes it"
            refuse("surface.trajectory", problem, given=True, advice=advice)
        return path

    def _direction_batches(self, examples: int | str) -> Iterable[Batch]:
        """Training examples for directions that are derivatives of the loss."""
        size, seed = self.config.batch_size, self.setup.config.seed
        split = self.setup.data.train.choose(examples, "stratified", seed, "surface.directions.examples")
        return split.batches(self.setup.backend.evaluation_batch if size == "auto" else size)

    def _chosen(self, name: str) -> AnySplit:
        config, split = self.config.data, getattr(self.setup.data, name)
        found: AnySplit = split.choose(
            config.examples, config.choose, self.setup.config.seed, "surface.data.examples", name
        )
        return found

    def _shuffled(self, split: AnySplit) -> AnySplit:
        if self.sampled:
            by_batch = self.treatment.by_batch
            return split.take(shared_order(split, self.objective, self.setup.config.seed, by_batch=by_batch))
        if not self.treatment.by_batch:
            return split
        size = self._statistics_size
        if len(split) % size == 1:
            refuse(
                "surface.statistics.batch_size" if self.config.batch_size == "auto" else "surface.batch_size",
                f"the last of {len(split):,} examples would be alone in its batch, and have no statistics",
                given=size,
                advice="take another size, or another number of surface.data.examples",
            )
        order = torch.randperm(len(split), generator=generator(self.setup.config.seed, "surface order"))
        return split.take(order.to(split.device))

    @property
    def _statistics_size(self) -> int:
        """Examples in a batch that gives the statistics."""
        asked = self.config.batch_size
        return self.config.statistics.batch_size if asked == "auto" else asked


def _batches(split: AnySplit, forward: Forward) -> Iterator[Batch]:
    """Batches of the current size, which may have been halved since the last point."""
    return split.batches(forward.plan.batch_size)
