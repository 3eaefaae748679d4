"""What a scan is of: a network at its checkpoint, the tensors that move, and the examples of the loss."""

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from lossviz.data.split import Split
from lossviz.data.streamed import StreamedSplit
from lossviz.engine.checkpoint import fit
from lossviz.engine.point import Vector, undisturbed
from lossviz.engine.setup import Setup
from lossviz.engine.state import steady
from lossviz.engine.trust import EXAMPLES
from lossviz.errors import refuse
from lossviz.seeding import generator
from lossviz.surface.batch_norm import Mode, by_batch, frozen, recalibrate, unknown
from lossviz.surface.checkpoints import scanned_checkpoint
from lossviz.surface.moving import moving
from lossviz.surface.pace import Forward, Pace, choose_pace
from lossviz.surface.record import splits
from lossviz.surface.slice import Measured, Slice, quantities


def scanned_splits(setup: Setup) -> dict[str, Split | StreamedSplit]:
    """The examples that `surface.data` means, by the prefix of their quantities' names: "", and "test_" beside it.

    Raises:
        RequestError: there are too few.
    """
    config, seed = setup.config.surface.data, setup.config.seed
    chosen = [
        getattr(setup.data, name).choose(config.examples, config.choose, seed, "surface.data.examples", name)
        for name in splits(config.split)
    ]
    return dict(zip(("", "test_"), chosen, strict=False))


class Subject:
    """The network of a scan and its data, as the `surface` section says.

    Raises:
        RequestError: there is no checkpoint, it does not fit, or there are too few examples.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.config = setup, setup.config.surface
        self.checkpoint = scanned_checkpoint(setup)
        # Compiled or not is a choice of its own here, and second derivatives need it as it is.
        self.objective = setup.objective(eager=True)
        self.model = self.objective.model
        fit(self.model, self.checkpoint.load(self.model), self.checkpoint.path)
        self.model.eval()
        self.coordinates = moving(self.model, statistics=self.config.batch_norm == "interpolate")
        splits = scanned_splits(setup)
        with steady(self.model):
            self.mode = self._mode(next(iter(splits[""].batches(EXAMPLES)))[0])
        self.splits = {prefix: self._shuffled(split) for prefix, split in splits.items()}
        for split in self.splits.values() if self.mode.by_batch else ():
            self._refuse_one_left(len(split))

    @property
    def examples(self) -> int:
        """Examples over which the loss of a point is averaged, on all splits together."""
        return sum(len(split) for split in self.splits.values())

    @property
    def quantities(self) -> list[str]:
        """What the grid holds, in the order of result files."""
        return quantities(self.splits, self.config.metrics)

    def _mode(self, inputs: Tensor) -> Mode:
        """BatchNorm at a moved point."""
        if self.config.batch_norm in ("batch", "recalibrate") and (modules := unknown(self.objective, inputs)):
            refuse(
                "surface.batch_norm",
                f"would leave modules as they are which normalise over the batch in a way of their own: "
                f"{', '.join(modules[:3])}",
                given=self.config.batch_norm,
                accepted="frozen; or BatchNorm of torch.nn in the network",
            )
        if self.config.batch_norm == "batch":
            return by_batch(self.objective)
        if self.config.batch_norm == "recalibrate":
            wanted = self.config.statistics
            minibatches = self.setup.data.minibatches(wanted.batch_size, self.setup.config.seed)
            return recalibrate(self.objective, [minibatches(step).inputs for step in range(wanted.batches)])
        return frozen(self.objective, inputs)

    def pace(self, points: int) -> Pace:
        """Batch size and compilation for a scan of so many points."""
        if self.mode.by_batch:
            return Pace(self._statistics_size, compiled=False, why="the batches that give the statistics")
        wanted = self.config.batch_size, self.config.compile
        network, first = self.mode.network(), self.splits[""]
        return choose_pace(self.objective, network, first.batches, points * self.examples, wanted)

    @contextmanager
    def slice(
        self, directions: Mapping[str, Vector], forward: Forward, *, moved: Set[str], limit: int | None = None
    ) -> Iterator[Slice]:
        """The line or plane through the network, which is bitwise as it was afterwards.

        Args:
            directions: by axis; one tensor a coordinate.
            forward: how networks are evaluated.
            moved: names of the parameters that metrics are about.
            limit: of the examples of each split; for estimates.
        """
        with undisturbed(self.model) as theta:
            # Running statistics are not among the trainable parameters, and come after them.
            origin = [*theta, *(each.tensor.clone() for each in self.coordinates[len(theta) :])]
            what = self._measured(forward, moved, limit)
            yield Slice(self.objective, self.coordinates, origin, directions, self.mode, forward, what)

    def _measured(self, forward: Forward, moved: Set[str], limit: int | None) -> Measured:
        splits = {
            name: split if limit is None else split.take(torch.arange(min(limit, len(split))))
            for name, split in self.splits.items()
        }
        train = self.setup.config.train
        parameters = [each.tensor for each in self.coordinates if each.kind != "statistic" and each.name in moved]
        return Measured(
            {name: partial(_batches, split, forward) for name, split in splits.items()},
            self.config.metrics,
            parameters,
            train.penalty_decay if train else 0.0,
        )

    @property
    def _statistics_size(self) -> int:
        """Examples in a batch that gives the statistics."""
        asked = self.config.batch_size
        return self.config.statistics.batch_size if asked == "auto" else asked

    def _refuse_one_left(self, examples: int) -> None:
        size = self._statistics_size
        if examples % size == 1:
            refuse(
                "surface.statistics.batch_size" if self.config.batch_size == "auto" else "surface.batch_size",
                f"the last of {examples:,} examples would be alone in its batch, and have no statistics",
                given=size,
                advice="take another size, or another number of surface.data.examples",
            )

    def _shuffled(self, split: Split | StreamedSplit) -> Split | StreamedSplit:
        """The examples, where minibatches give the statistics, in random order: files are often sorted by class."""
        if not self.mode.by_batch:
            return split
        order = torch.randperm(len(split), generator=generator(self.setup.config.seed, "surface order"))
        return split.take(order.to(split.targets.device))


def _batches(split: Split | StreamedSplit, forward: Forward) -> Iterator[tuple[Tensor, Tensor]]:
    """Of the size that holds when a point is computed: it may have been halved since the last one."""
    return split.batches(forward.pace.batch_size)
