"""Who computes the points of a scan: this process, or others that a client of a cluster speaks to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from lossviz.engine.curvature import attributes_of_products
from lossviz.engine.point import Vector, undisturbed
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import Attributes, Found, ScanFile
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Index
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.surface.sampled.files import SampleFiles, Seen
from lossviz.surface.sampled.plane import SampledPlane
from lossviz.surface.sampled.scan import loss_range, sampled_plane
from lossviz.surface.waypoints import Waypoint, measure_waypoint

# Of a sampled scan: its checkpoints and what the plane says there are compared on so many.
CHECKPOINT_EXAMPLES = 2000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Results:
    """What was found at some points.

    Attributes:
        found: their quantities.
        seen: of coarse points of a sampled scan, what other points are interpolated from.
    """

    found: Found = field(default_factory=dict)
    seen: Mapping[Index, Seen] = field(default_factory=dict)


class Workers(Protocol):
    """Who computes which points. The numbers do not depend on it."""

    def results(self, points: Sequence[Index], samples: SampleFiles) -> Iterator[Results]:
        """What is found at these points, some at a time and in any order; nothing now and then while none is ready.

        Args:
            points: to be computed; of a sampled scan all of them coarse, or none.
            samples: what was seen at the coarse points.
        """

    def waypoints(self, checkpoints: Sequence[Checkpoint]) -> Iterator[Mapping[int, Waypoint]]:
        """What is found at checkpoints beside the grid, by their places in the list, in the same way."""

    def attributes(self) -> Attributes:
        """How it was computed, for the result file; known at the end."""

    def count(self) -> int:
        """How many took part so far."""

    def state(self) -> str:
        """How the work goes, for the progress; empty if there is nothing to say."""


class Place(Protocol):
    """Where scans are computed."""

    def decide(self, plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], say: Say) -> Attributes:
        """What is decided where a scan is computed before it begins: see `decide`."""

    def workers(
        self, plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], say: Say
    ) -> AbstractContextManager[Workers]:
        """Begin to work for a scan, and end that."""

    def estimate(self, points: int, seconds: float) -> list[str]:
        """What so many points take there, which take some seconds in this process: lines for --dry-run."""


@dataclass(frozen=True, eq=False)
class Alone:
    """This process, which computes one point after another.

    Attributes:
        plan: what is scanned.
        file: its grid, and what was decided when it began.
        plane: the line or plane.
        forward: how its networks are evaluated.
        sampled: estimates on the plane, for a scan with an accuracy.
    """

    plan: ScanPlan
    file: ScanFile
    plane: LossPlane
    forward: Forward
    sampled: SampledPlane | None = None

    def results(self, points: Sequence[Index], samples: SampleFiles) -> Iterator[Results]:
        """One point after another."""
        grid = self.file.grid

        def seen(index: Index) -> Seen:
            return samples.load(grid.place(index))

        return self.results_beside(points, seen)

    def results_beside(self, points: Sequence[Index], seen: Callable[[Index], Seen]) -> Iterator[Results]:
        """One point after another, where it is known what was seen at the coarse points."""
        if self.sampled is None:
            yield from (Results({index: self.plane(**self.file.grid.where(index))}) for index in points)
            return
        sampled = replace(self.sampled, seen=seen)
        for index in points:
            quantities, here = sampled(index)
            yield Results({index: quantities}, {index: here} if here else {})

    def waypoints(self, checkpoints: Sequence[Checkpoint]) -> Iterator[Mapping[int, Waypoint]]:
        """One checkpoint after another."""
        for place, each in enumerate(checkpoints):
            yield {place: measure_waypoint(self.plane, each, own=self.plan.checkpoint)}

    def attributes(self) -> Attributes:
        """Batch size, compilation, what was kept of frozen layers, how products with the Hessian were taken."""
        prefix = self.plane.prefix
        self.forward.mention(prefix.doubts if prefix else [])
        return {
            **(prefix.attributes() if prefix else {}),
            **self.forward.plan.attributes(),
            **attributes_of_products(self.plane.treatment.module),
        }

    def count(self) -> int:
        """One."""
        return 1

    def state(self) -> str:
        """Nothing: the pace says it."""
        return ""


@contextmanager
def alone(plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], say: Say, scratch: str) -> Iterator[Alone]:
    """This process as the only worker, with a folder for temporary files; the network is as it was afterwards."""
    moving, keep = plan.subspace.only(file.moved), plan.keeps_directions
    limit = CHECKPOINT_EXAMPLES if plan.sampled else None
    with undisturbed(plan.objective.model, moving.moved_tensors, keep=keep, folder=scratch) as origin:
        forward = Forward(plan.objective, ExecutionPlan.saved(file.attributes), say)
        plane = plan.plane(moving, directions, forward, origin=origin, limit=limit)
        forward.mention(plan.objective.doubts)
        yield Alone(plan, file, plane, forward, sampled_plane(plan, file, plane, say) if plan.sampled else None)


def decide(plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector]) -> Attributes:
    """What all points share, decided once on a device as they are computed on: batch size, compilation, loss range."""
    subspace, grid = plan.subspace.only(file.moved), file.grid
    execution = plan.execution(grid.status.size, subspace)
    range_ = loss_range(plan, grid, subspace, directions, execution) if plan.sampled else {}
    return {**execution.attributes(), **range_}


class Here:
    """This process as a place."""

    def decide(self, plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], _: Say) -> Attributes:
        """As the function of this name."""
        return decide(plan, file, directions)

    def workers(
        self, plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], say: Say
    ) -> AbstractContextManager[Workers]:
        """This process alone."""
        return alone(plan, file, directions, say, str(plan.setup.run.folder))

    def estimate(self, *_: float) -> list[str]:
        """Nothing more."""
        return []


HERE = Here()
