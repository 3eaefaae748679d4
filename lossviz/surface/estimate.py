"""The cost of a scan, for --dry-run: points, examples, and seconds estimated from a few points."""

import time
from dataclasses import replace
from statistics import median

from lossviz.config.directions import Selection
from lossviz.data.streamed import StreamedSplit
from lossviz.progress import duration
from lossviz.results import TO_DO, load_results
from lossviz.setup import Setup
from lossviz.surface.batch_norm import BatchNormTreatment
from lossviz.surface.directions.random import random_direction
from lossviz.surface.forward import Forward
from lossviz.surface.plan import ScanPlan

POINTS = 3
BATCHES = 4


def surface_lines(setup: Setup) -> list[str]:
    """Cost and files of a scan."""
    plan, name = ScanPlan(setup), setup.config.surface.name
    views = sum(len(split) * (split.views if isinstance(split, StreamedSplit) else 1) for split in plan.splits.values())
    return [
        f"around {plan.checkpoint.path}",
        f"{plan.points:,} points of {plan.examples:,} examples: {plan.points * views:,} forward",
        f"writes surface-{name}.nc and directions-{name}.safetensors",
    ]


def surface_time(setup: Setup, fresh: bool = False) -> list[str]:
    """How long a scan will take, from a few points that are computed for it.

    Args:
        setup: the variant.
        fresh: whether what is there will be discarded.
    """
    plan = ScanPlan(setup)
    file = setup.run.surface_file(plan.config.name)
    known = int((load_results(file).status != TO_DO).sum()) if file.exists() and not fresh else 0
    left = max(0, plan.points - known)
    seconds, why = seconds_of_scan(plan, left)
    there = f" for the {left:,} that are left" if known else ""
    return [f"about {duration(seconds)}{there} on this device, by a few points that were computed ({why})"]


def seconds_of_scan(plan: ScanPlan, points: int) -> tuple[float, str]:
    """Seconds that a number of points will take on this device, and how the forward passes will be done.

    A few points are computed over a few batches, in random directions whatever the configured ones: their cost
    is the same. Nothing is written.
    """
    execution = plan.execution(points)
    directions = {axis: random_direction(plan.subspace, "filter", 0, axis) for axis in plan.axes}
    forward = Forward(plan.objective, replace(execution, compiled=False))
    limit = BATCHES * execution.batch_size
    wanted = plan.config.directions
    moved = plan.subspace.select(wanted if isinstance(wanted, Selection) else Selection())
    plane = plan.plane(moved, directions, forward, limit=limit)
    seconds = [plane(*[0.1 * i] * len(plan.axes))["seconds"] for i in range(POINTS + 1)][1:]
    fixed = median(_seconds_once(plan.treatment) for _ in range(POINTS))
    # Statistics are re-estimated once a point, whatever the number of examples.
    measured = sum(min(limit, len(split)) for split in plan.splits.values())
    return points * (fixed + max(median(seconds) - fixed, 0.0) * plan.examples / measured), execution.why


def _seconds_once(treatment: BatchNormTreatment) -> float:
    started = time.perf_counter()
    treatment.network()
    return time.perf_counter() - started
