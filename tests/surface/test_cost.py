"""What --dry-run says of a scan must be what then happens."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lossviz.engine.evaluation import Batches, Evaluation, evaluate
from lossviz.engine.objective import Objective
from lossviz.results import load_results
from lossviz.signals import StopRequest
from lossviz.surface import batch_norm as batch_norm_module
from lossviz.surface import plane as surface_plane
from lossviz.surface.batch_norm import BatchNormTreatment, recalibrate
from lossviz.surface.command import surface
from lossviz.surface.cost import surface_lines, surface_time, time_of_scan
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.training.command import train
from tests.faults import tiny
from tests.faults.tiny import QUIET

MEASURED = "by a few points that were computed"
RECALIBRATED = "extrapolated from 20 of the 20 examples of a point and"


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
    lines = surface_lines(ScanPlan(setup))
    assert count.examples == 0
    surface(ScanPlan(setup), QUIET, StopRequest())
    assert load_results(setup.run.surface_file("main"))["status"].size == points
    assert surface_time(ScanPlan(setup)) == []  # nothing is left
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
    (line,) = surface_time(ScanPlan(setup))
    how = MEASURED if batch_norm != "recalibrate" else f"{RECALIBRATED} 7 of the 14 of its statistics"
    assert re.fullmatch(rf"about (\d+:)?\d+:\d\d on this device, {how}", line)
    assert 0 < count.points <= 9
    assert tiny.tree(tmp_path) == before
    assert torch.equal(torch.get_rng_state(), state)


def slowly(monkeypatch: pytest.MonkeyPatch, statistics_s: float, example_s: float) -> None:
    """A clock that goes by the examples of statistics and of evaluations."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def slow(objective: Objective, minibatches: Batches) -> BatchNormTreatment:
        treatment = recalibrate(objective, minibatches)

        def network() -> nn.Module:
            now[0] += statistics_s * sum(len(targets) for _, targets in minibatches())
            return treatment.network()

        return replace(treatment, network=network)

    def evaluated(*arguments: Any) -> Evaluation:
        found = evaluate(*arguments)
        now[0] += example_s * found.examples
        return found

    monkeypatch.setattr(batch_norm_module, "recalibrate", slow)
    monkeypatch.setattr(surface_plane, "evaluate", evaluated)


@pytest.mark.parametrize("split", ["train", "both"])
def test_the_time_is_proportional_to_points_examples_and_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    surface = {"batch_norm": "recalibrate", "statistics": {"batch_size": 16, "batches": 3}}
    surface |= {"data": {"examples": 20, "split": split}}
    setup = tiny.setup(tmp_path, model={"norm": "batch"}, surface=surface)
    train(setup, QUIET, StopRequest())
    slowly(monkeypatch, 0.01, 0.02)
    examples = 20 if split == "train" else 40
    seconds, measured = time_of_scan(ScanPlan(setup), 50)
    assert seconds == pytest.approx(50 * (16 * 3 * 0.01 + examples * 0.02))
    assert measured == (
        f"extrapolated from {examples} of the {examples} examples of a point and 8 of the 48 of its statistics"
    )


def test_what_would_take_too_long_is_extrapolated_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = tiny.setup(tmp_path, surface={"data": {"examples": 40, "split": "train"}})
    train(setup, QUIET, StopRequest())
    count = CountForward(monkeypatch)
    slowly(monkeypatch, 0.0, 2.0)
    seconds, measured = time_of_scan(ScanPlan(setup), 6)
    assert seconds == pytest.approx(6 * 40 * 2.0)
    assert measured == "extrapolated from 4 of the 40 examples of a point"
    assert count.points == 2
