"""Scans: lossviz against the plain loop, and two workers against two threads."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from benchmarks.pairs import paired
from lossviz.config.directions import Random
from lossviz.data.split import Split
from lossviz.engine.objective import Objective
from lossviz.engine.point import undisturbed
from lossviz.surface.batch_norm import frozen
from lossviz.surface.directions.random import random_direction
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.plane import LossPlane
from lossviz.surface.subspace import Subspace

# An untrained network takes as long as a trained one.
SHARED = """
name: shared
data: {name: digits}
model: {name: resnet, depth: 20}
train: {steps: 1, batch_size: 8, eval_examples: 8}
surface: {x: [-1, 1, 8], y: [-1, 1, 8], batch_size: 64, compile: false, data: {examples: 256}}
"""


def scanning(
    ours: nn.Module, split: Split, positions: Sequence[tuple[float, float]], execution: ExecutionPlan
) -> Callable[[], None]:
    """Some points of a plane through a network, by lossviz."""
    subspace = Subspace.of(ours).select(Random())
    vectors = {axis: random_direction(subspace, "filter", 123, axis) for axis in ("x", "y")}
    objective = Objective(ours)
    batch = next(split.batches(execution.batch_size))
    forward, treatment = Forward(objective, execution, say=print), frozen(objective, batch)
    batches = {"": lambda: split.batches(execution.batch_size)}

    def scan() -> None:
        with undisturbed(ours):
            ours.eval()
            plane = LossPlane(objective, subspace, vectors, treatment, forward, batches)
            for x, y in positions:
                plane(x, y)

    return scan


def sharing(pairs: int) -> dict[str, Any]:
    """A scan of ResNet-20 by one process with two threads, and by two workers with one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "shared.yaml")
        config.write_text(SHARED)
        _command(folder, 2, "train", "shared.yaml")
        scan = partial(_command, folder, 2, "surface", "shared.yaml", "--fresh", "--device", "cpu")
        return paired(scan, partial(scan, "--workers", "2"), pairs, seconds=_scan_seconds(folder))


def _scan_seconds(folder: str) -> Callable[[Callable[[], Any]], float]:
    """Seconds of the scan alone: importing torch and starting workers take as long, and is no part of the question."""

    def seconds(work: Callable[[], Any]) -> float:
        work()
        record = json.loads(Path(folder, "runs", "shared", "shared", "run.json").read_text())
        return float(record["surface-main"]["seconds"])

    return seconds


def _command(folder: str, threads: int, *arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(Path(__file__).parents[1])}
    call = [sys.executable, "-m", "lossviz", *arguments, "--quiet"]
    subprocess.run(call, cwd=folder, env=environment, check=True, capture_output=True)
