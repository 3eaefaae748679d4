"""Who computes the points of a scan: this process, or others that a client of a cluster speaks to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import xarray as xr

from lossviz.engine.curvature import attributes_of_products
from lossviz.engine.point import Vector, undisturbed
from lossviz.progress import Track
from lossviz.signals import StopRequest
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import Attributes, Found, ScanFile
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Index, Quantities
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.surface.sampled_scan import sampled_plane
from lossviz.surface.waypoints import measure_waypoints

# Of a sampled scan: its checkpoints and what the plane says there are compared on so many.
CHECKPOINT_EXAMPLES = 2000


class Workers(Protocol):
    """Who computes which points. The numbers do not depend on it."""

    def results(self, points: Sequence[Index]) -> Iterator[Found]:
        """What is found at these points, some at a time and in any order; nothing now and then while none is ready."""

    def waypoints(self, checkpoints: Sequence[Checkpoint], track: Track, stop: StopRequest) -> xr.Dataset:
        """What is found at the checkpoints beside the grid."""

    def attributes(self) -> Attributes:
        """How it was computed, for the result file; known at the end."""


@dataclass(frozen=True, eq=False)
class Alone:
    """This process, which computes one point after another.

    Attributes:
        plan: what is scanned.
        plane: the line or plane.
        forward: how its networks are evaluated.
        point: the quantities at a point of the grid.
    """

    plan: ScanPlan
    plane: LossPlane
    forward: Forward
    point: Callable[[Index], Quantities]

    def results(self, points: Sequence[Index]) -> Iterator[Found]:
        """One point after another."""
        yield from ({index: self.point(index)} for index in points)

    def waypoints(self, checkpoints: Sequence[Checkpoint], track: Track, stop: StopRequest) -> xr.Dataset:
        """One checkpoint after another."""
        return measure_waypoints(self.plane, checkpoints, track, stop, own=self.plan.checkpoint)

    def attributes(self) -> Attributes:
        """Batch size, compilation, what was kept of frozen layers, how products with the Hessian were taken."""
        prefix = self.plane.prefix
        self.forward.mention(prefix.doubts if prefix else [])
        return {
            **(prefix.attributes() if prefix else {}),
            **self.forward.plan.attributes(),
            **attributes_of_products(self.plane.treatment.module),
        }


class Opening(Protocol):
    """Begins to work for a scan, and ends that."""

    def __call__(
        self, plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], say: Callable[[str], None]
    ) -> AbstractContextManager[Workers]: ...


@contextmanager
def alone(
    plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], say: Callable[[str], None]
) -> Iterator[Alone]:
    """This process as the only worker; the network is as it was afterwards.

    Args:
        plan: what is scanned.
        file: its grid, and what was decided when it began.
        directions: by axis.
        say: told of doubts, and of too little memory.
    """
    execution = ExecutionPlan.saved(file.attributes)
    moving, folder = plan.subspace.only(file.moved), str(plan.setup.run.folder)
    keep, limit = plan.keeps_directions, CHECKPOINT_EXAMPLES if plan.sampled else None
    with undisturbed(plan.objective.model, moving.moved_tensors, keep=keep, folder=folder) as origin:
        forward = Forward(plan.objective, execution, say)
        plane = plan.plane(moving, directions, forward, origin=origin, limit=limit)
        forward.mention(plan.objective.doubts)
        if plan.sampled:
            yield Alone(plan, plane, forward, sampled_plane(plan, file, plane, execution, say))
        else:
            yield Alone(plan, plane, forward, lambda index: plane(**file.grid.where(index)))
