"""How long a scan will take, from a few points that are really computed."""

import time
from dataclasses import replace
from statistics import median

from lossviz.config.directions import Selection
from lossviz.engine.setup import Setup
from lossviz.surface.batch_norm import Mode
from lossviz.surface.directions import random_direction
from lossviz.surface.moving import selected
from lossviz.surface.pace import Forward
from lossviz.surface.subject import Subject

POINTS = 3
BATCHES = 4


def seconds_of_scan(setup: Setup, points: int) -> tuple[float, str]:
    """Seconds that so many points of a scan will take on this device, and how its forward passes will be done.

    A few points are computed over a few batches, in random directions whatever the configured ones: their cost
    is the same. Nothing is written.
    """
    subject = Subject(setup)
    pace = subject.pace(points)
    axes = ("x", "y") if subject.config.y else ("x",)
    every = {each.name for each in subject.coordinates}
    directions = {axis: random_direction(subject.coordinates, every, "filter", 0, axis) for axis in axes}
    forward = Forward(subject.objective, replace(pace, compiled=False))
    limit = BATCHES * pace.batch_size
    wanted = subject.config.directions
    moved = selected(subject.coordinates, wanted if isinstance(wanted, Selection) else Selection())
    with subject.slice(directions, forward, moved=moved, limit=limit) as part:
        seconds = [part.at(dict.fromkeys(axes, 0.1 * i))["seconds"] for i in range(POINTS + 1)][1:]
        fixed = median(_seconds_once(subject.mode) for _ in range(POINTS))
    # Statistics are re-estimated once a point, whatever the number of examples.
    measured = sum(min(limit, len(split)) for split in subject.splits.values())
    return points * (fixed + max(median(seconds) - fixed, 0.0) * subject.examples / measured), pace.why


def _seconds_once(mode: Mode) -> float:
    started = time.perf_counter()
    mode.network()
    return time.perf_counter() - started
