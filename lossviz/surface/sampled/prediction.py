"""How many examples a scan with `surface.accuracy` will see, from a pilot of a few examples at a few points."""

import math
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from torch import nn

from lossviz.engine.point import undisturbed
from lossviz.surface.grid import Grid, Index
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.surface.sampled.estimator import Values, needed
from lossviz.surface.sampled.lattice import Lattice, interpolate
from lossviz.surface.sampled.plane import SamplingTask, oracle_of
from lossviz.surface.sampled.point import NEARLY_ALL
from lossviz.surface.sampled.sampling import PILOT, SHARE_OF_CONTROL, fewest
from lossviz.surface.sampled.scan import sampling_task

# Parts of the plane between coarse points that are looked at: their corners and the point in their middle.
CELLS = 4


@dataclass(frozen=True)
class Prediction:
    """What is left of a scan.

    Attributes:
        seen: examples, at all points that are to do.
        seconds: for these, as fast as the pilot, which is not compiled and in full precision.
        points: where the pilot was.
    """

    seen: float
    seconds: float
    points: int


def predict(plan: ScanPlan, grid: Grid, plane: LossPlane) -> Prediction:
    """Evaluate the first examples at the corners and in the middle of a few cells of coarse points.

    Where all points are coarse, as of three an axis, it is at these.

    Args:
        plan: of the scan.
        grid: its points; those that are known are not counted.
        plane: where they are evaluated; its network is left as it was.
    """
    lattice, found = Lattice(grid.status.shape), dict[Index, dict[str, Values]]()
    places = [each for middle in _middles(lattice) for each in (*lattice.around(middle), middle)]
    started = time.perf_counter()
    with undisturbed(plane.objective.model, plane.subspace.moved_tensors):
        for index in dict.fromkeys(places or lattice.points):
            found[index] = plane.with_network(**grid.place(index), compute=partial(_pilot, plan, plane))
    seconds = time.perf_counter() - started
    means = np.array([float(each[""][:, 0].mean()) for each in found.values()])
    finite = means[np.isfinite(means)]
    sampling = sampling_task(plan, float(np.ptp(finite)) if len(finite) else math.nan)
    coarse = sum(index in lattice for index in grid.todo())
    count = {True: coarse, False: len(grid.todo()) - coarse}
    seen = 0.0
    for prefix, split in sampling.splits.items():
        costs: dict[bool, list[float]] = {True: [], False: []}
        for index, values in found.items():
            around = lattice.around(index)
            parents = [found[each][prefix] for each in around] if index not in lattice else []
            cost = examples_at(values[prefix], len(split), sampling, parents, list(around.values()))
            costs[index in lattice].append(cost)
        seen += sum(count[kind] * float(np.mean(each)) for kind, each in costs.items() if each)
    pilot = PILOT * len(found) * len(sampling.splits)
    return Prediction(seen, seconds / pilot * seen, len(found))


def _pilot(plan: ScanPlan, plane: LossPlane, network: nn.Module) -> dict[str, Values]:
    return {
        prefix: oracle_of(plane.forward, network, split)(np.arange(PILOT)) for prefix, split in plan.ordered.items()
    }


def examples_at(
    values: Values, total: int, sampling: SamplingTask, parents: list[Values], weights: list[float]
) -> float:
    """Examples that a point will take; the coarse points around it are known to their own accuracy by then."""
    losses = values[:, 0]
    if not np.isfinite(losses).all():
        return PILOT
    accuracy = sampling.accuracy if parents else sampling.accuracy.tighter(SHARE_OF_CONTROL)
    wanted = accuracy.at(float(losses.mean()))
    if not wanted:
        return total
    count = needed(losses, total, wanted)
    if parents and all(np.isfinite(each[:, 0]).all() for each in parents):
        own = wanted * (1 - SHARE_OF_CONTROL) ** 0.5
        for control in interpolate(parents, weights):
            count = min(count, needed(losses - control[:, 0], total, own))
    count = max(PILOT, count, fewest(wanted, total, sampling.unseen_loss))
    return count if count < NEARLY_ALL * total else total


def _middles(lattice: Lattice) -> list[Index]:
    """Fine points in the middle of some cells, drawn at random but the same every time."""
    cells = [[(low + high) // 2 for low, high in pairwise(axis)] for axis in lattice.axes]
    generator = np.random.default_rng(0)
    drawn = [tuple(int(generator.choice(axis)) for axis in cells) for _ in range(10 * CELLS)]
    return [index for index in dict.fromkeys(drawn) if index not in lattice][:CELLS]
