"""The cost of a scan, for --dry-run: points, examples, and seconds estimated from a few points."""

from collections.abc import Callable
from dataclasses import replace

from lossviz.config.directions import Selection
from lossviz.config.surface import Statistics
from lossviz.engine.point import Vector
from lossviz.engine.timing import Estimate, seconds_of, timed
from lossviz.progress import duration
from lossviz.setup import Setup
from lossviz.surface.directions.random import random_direction
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid, resolve
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.prediction import predict
from lossviz.surface.sampled.sampling import PILOT
from lossviz.surface.scan import begun_grid
from lossviz.surface.subspace import Subspace
from lossviz.surface.workers import HERE, Place

# Examples on which statistics are re-estimated here: less than a minibatch of a scan.
FEW = 8


def surface_lines(plan: ScanPlan) -> list[str]:
    """Cost and files of a scan."""
    name = plan.config.name
    views = sum(len(split) * split.views for split in plan.splits.values())
    most, samples = ("at most ", f", and samples-{name}/ for resuming and refining it") if plan.sampled else ("", "")
    return [
        f"around {plan.checkpoint.path}",
        f"{plan.points:,} points of {most}{plan.examples:,} {plan.unit}: {most}{plan.points * views:,} forward",
        f"writes surface-{name}.nc"
        + (f" and directions-{name}.safetensors" if plan.keeps_directions else "")
        + samples,
    ]


def surface_time(plan: ScanPlan, fresh: bool = False, place: Place = HERE) -> list[str]:
    """How long a scan will take, from a few points that are computed for it; empty if none is left.

    Args:
        plan: the scan.
        fresh: whether what is there will be discarded.
        place: where it will be computed.
    """
    begun = None if fresh else begun_grid(plan)
    left = plan.points if begun is None else len(begun.todo())
    if not left:
        return []
    seconds, measured = time_of_sampled_scan(plan, begun) if plan.sampled else time_of_scan(plan, left)
    there = f" for the {left:,} that are left" if left < plan.points else ""
    return [f"about {duration(seconds)}{there} on this device, {measured}", *place.estimate(left, seconds)]


def time_of_scan(plan: ScanPlan, points: int) -> Estimate:
    """Estimate how long a number of points of a scan will take on this device.

    For a few seconds a point is computed over as many examples as that allows, in random directions whatever the
    configured ones, and not compiled. Nothing is written.
    """
    statistics, mode = plan.config.statistics, plan.config.batch_norm
    few = Statistics(batch_size=min(FEW, statistics.batch_size), batches=1)
    if mode == "recalibrate":
        plan = ScanPlan(_with_statistics(plan.setup, few))
    compute = _point(plan)
    longest = max(map(len, plan.splits.values()))
    timing = timed(compute, longest)
    examined = sum(min(timing.examples, len(split)) for split in plan.splits.values())
    # Statistics are re-estimated once a point, whatever the number of examples.
    once = seconds_of(plan.treatment.network)
    of_examples = max(timing.seconds * timing.examples / longest - once, 0.0) * plan.examples / examined
    whole = statistics.batches * statistics.batch_size
    times, beside = 1.0, ""
    if mode == "recalibrate" and few.batch_size < whole:
        times, beside = whole / few.batch_size, f" and {few.batch_size:,} of the {whole:,} of its statistics"
    seconds = points * (once * times + of_examples)
    if examined == plan.examples and not beside:
        return Estimate(seconds, "by a few points that were computed")
    return Estimate(seconds, f"extrapolated from {examined:,} of the {plan.examples:,} {plan.unit} of a point{beside}")


def time_of_sampled_scan(plan: ScanPlan, begun: Grid | None = None) -> Estimate:
    """Estimate the examples that a scan with `surface.accuracy` sees at the points that are to do, and their time.

    From a pilot in random directions.
    """
    x, y = plan.config.x, plan.config.y
    grid = Grid.empty(resolve(x), None if y is None else resolve(y), ()) if begun is None else begun
    forward, directions, subspace = _in_random_directions(plan)
    found = predict(plan, grid, plan.plane(subspace, directions, forward, limit=PILOT))
    said = f"for some {found.seen:,.0f} examples by a pilot at {found.points} points"
    return Estimate(found.seconds, f"{said}; less where compiled or in bfloat16")


def _point(plan: ScanPlan) -> Callable[[int], object]:
    """A function that computes a point over a number of examples of each split."""
    forward, directions, subspace = _in_random_directions(plan)
    place = [0.1] * len(plan.axes)
    return lambda examples: plan.plane(subspace, directions, forward, limit=examples)(*place)


def _in_random_directions(plan: ScanPlan) -> tuple[Forward, dict[str, Vector], Subspace]:
    config = plan.config
    size = config.batch_size if isinstance(config.batch_size, int) else plan.setup.backend.evaluation_batch
    by_batch = config.batch_norm == "batch"
    forward = Forward(plan.objective, ExecutionPlan(config.statistics.batch_size if by_batch else size))
    selection = config.directions if isinstance(config.directions, Selection) else Selection()
    directions: dict[str, Vector] = {axis: random_direction(plan.subspace, "filter", 0, axis) for axis in plan.axes}
    return forward, directions, plan.subspace.select(selection)


def _with_statistics(setup: Setup, statistics: Statistics) -> Setup:
    surface = setup.config.surface.model_copy(update={"statistics": statistics})
    return replace(setup, config=setup.config.model_copy(update={"surface": surface}))
