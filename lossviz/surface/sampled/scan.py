"""Scans with `surface.accuracy`: how accurate in numbers, and what is kept beside the result file."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from lossviz.engine.point import Vector, undisturbed
from lossviz.results import TO_DO
from lossviz.run import Run
from lossviz.surface.file import Attributes, ScanFile
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.surface.sampled.files import SampleFiles
from lossviz.surface.sampled.lattice import Lattice
from lossviz.surface.sampled.plane import SampledPlane, SamplingTask
from lossviz.surface.sampled.sampling import PILOT, Accuracy
from lossviz.surface.subspace import Subspace


def sampled_plane(plan: ScanPlan, file: ScanFile, plane: LossPlane, say: Callable[[str], None]) -> SampledPlane:
    """Estimates at the points of a scan."""
    execution = ExecutionPlan.saved(file.attributes)
    beside = Forward(plan.objective.in_bfloat16(), execution, say, beside=True) if execution.low_precision else None
    sampling = sampling_task(plan, float(file.attributes.get("loss_range", math.nan)))
    return SampledPlane(plane, sampling, file.grid, beside)


def sampling_task(plan: ScanPlan, loss_range: float) -> SamplingTask:
    """What is sampled, and how well; the range is that of the losses, for an accuracy in it."""
    accuracy, setup = plan.config.accuracy, plan.setup
    if isinstance(accuracy, Mapping):
        absolute = accuracy["absolute"] if "absolute" in accuracy else accuracy["range"] * loss_range
        wanted = Accuracy(absolute=absolute)
    else:
        wanted = Accuracy(relative=float(accuracy))
    classes = setup.loss_name == "cross-entropy" and setup.data.outputs > 1
    return SamplingTask(plan.ordered, wanted, math.log(setup.data.outputs) if classes else 0.0)


def loss_range(
    plan: ScanPlan, grid: Grid, subspace: Subspace, directions: Mapping[str, Vector], execution: ExecutionPlan
) -> Attributes:
    """The range of the losses, where the accuracy is one in it: at the coarse points, by the first examples."""
    if not (isinstance(plan.config.accuracy, Mapping) and "range" in plan.config.accuracy):
        return {}
    with undisturbed(plan.objective.model, subspace.moved_tensors) as origin:
        forward = Forward(plan.objective, ExecutionPlan(execution.batch_size))
        plane = plan.plane(subspace, directions, forward, origin=origin, limit=PILOT)
        losses = np.array([plane.loss(**grid.where(index)) for index in Lattice(grid.status.shape).points])
    finite = losses[np.isfinite(losses)]
    return {"loss_range": float(finite.max() - finite.min()) if len(finite) else math.nan}


def forget_unsampled(run: Run, name: str, grid: Grid) -> None:
    """Coarse points whose losses of single examples are not there are computed again, if other points need them."""
    samples, lattice = SampleFiles(run.samples_folder(name)), Lattice(grid.status.shape)
    if not any(index not in lattice for index in grid.todo()):
        return
    for index in lattice.points:
        if grid.status[index] != TO_DO and not samples.has(grid.place(index)):
            grid.status[index] = TO_DO
