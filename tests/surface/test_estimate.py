"""What --dry-run says of a scan must be what then happens."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lossviz.engine.evaluation import Evaluation, evaluate
from lossviz.results import load_results
from lossviz.signals import StopRequest
from lossviz.surface import batch_norm as surface_batch_norm
from lossviz.surface import forward as surface_forward
from lossviz.surface import plane as surface_plane
from lossviz.surface.batch_norm import BatchNormTreatment, recalibrate
from lossviz.surface.command import surface
from lossviz.surface.estimate import seconds_of_scan, surface_lines, surface_time
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.training.command import train
from tests.faults import tiny
from tests.faults.tiny import QUIET


class CountForward:
    """Counts the examples that a scan evaluates at the points of its grid."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.points = self.examples = 0
        measure, measured = LossPlane.__call__, evaluate

        def counted(plane: LossPlane, *position: float, **named: float) -> dict[str, float]:
            self.points += 1
            return measure(plane, *position, **named)

        def evaluated(*arguments: Any) -> Evaluation:
            found = measured(*arguments)
            self.examples += found.examples
            return found

        monkeypatch.setattr(LossPlane, "__call__", counted)
        monkeypatch.setattr(surface_plane, "evaluate", evaluated)


@pytest.mark.parametrize(("y", "points"), [([0, 1, 2], 6), (None, 3)])
@pytest.mark.parametrize(("split", "examples"), [("train", 20), ("both", 40)])
def test_the_cost_of_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, y: list[int] | None, points: int, split: str, examples: int
) -> None:
    """Of the grid; beside it the first split at the checkpoint, by the plain path and by the scan's own."""
    setup = tiny.setup(tmp_path, surface={"y": y, "data": {"examples": 20, "split": split}})
    train(setup, QUIET, StopRequest())
    count = CountForward(monkeypatch)
    lines = surface_lines(setup)
    assert count.examples == 0
    surface(setup, QUIET, StopRequest())
    assert load_results(setup.run.surface_file("main"))["status"].size == points
    assert count.points == points
    assert count.examples == points * examples + 20 + 20
    assert f"{points} points of {examples} examples: {points * examples} forward" in lines
    assert lines[0] == f"around {setup.run.checkpoint_file(12)}"


@pytest.mark.parametrize("batch_norm", ["frozen", "batch", "recalibrate"])
def test_the_time_of_a_scan_is_measured_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_norm: str
) -> None:
    """A few points over a few examples; the rest is extrapolated, but for statistics that are taken once a point."""
    statistics = {"batch_size": 7, "batches": 2}
    setup = tiny.setup(tmp_path, model={"norm": "batch"}, surface={"batch_norm": batch_norm, "statistics": statistics})
    train(setup, QUIET, StopRequest())
    before, state = tiny.tree(tmp_path), torch.get_rng_state()
    count = CountForward(monkeypatch)
    (line,) = surface_time(setup)
    assert re.fullmatch(r"about (\d+:)?\d+:\d\d on this device, by a few points that were computed \(.+\)", line)
    assert 0 < count.points <= 6
    assert tiny.tree(tmp_path) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_the_time_is_proportional_to_points_and_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own: 2 s for the statistics of a point, 0.5 s for an example of 4 batches of 2."""
    setup = tiny.setup(tmp_path, model={"norm": "batch"}, surface={"batch_norm": "recalibrate", "batch_size": 2})
    train(setup, QUIET, StopRequest())
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    recalibrated = recalibrate

    def slow(*arguments: Any) -> BatchNormTreatment:
        treatment = recalibrated(*arguments)

        def network() -> nn.Module:
            now[0] += 2.0
            return treatment.network()

        return replace(treatment, network=network)

    def evaluated(*arguments: Any) -> Evaluation:
        found = evaluate(*arguments)
        now[0] += 0.5 * found.examples
        return found

    monkeypatch.setattr(surface_batch_norm, "recalibrate", slow)
    monkeypatch.setattr(surface_plane, "evaluate", evaluated)
    monkeypatch.setattr(surface_forward, "_rate", lambda *_: 10.0)
    seconds, why = seconds_of_scan(ScanPlan(setup), 50)
    assert seconds == pytest.approx(50 * (2.0 + 0.5 * 20))
    assert why.startswith("2 a batch: 10 examples/s")
