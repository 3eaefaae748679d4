"""What --dry-run says must be what then happens."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossviz import plan
from lossviz.data.minibatches import Minibatch
from lossviz.engine.evaluation import Evaluation, evaluate
from lossviz.engine.objective import Objective
from lossviz.engine.setup import Setup
from lossviz.engine.train import train
from lossviz.errors import RequestError
from lossviz.probe.measure import probe_checkpoints, probe_training
from lossviz.results import load_results
from lossviz.signals import StopRequest
from lossviz.surface import pace as surface_pace
from lossviz.surface import slice as surface_slice
from lossviz.surface import subject as surface_subject
from lossviz.surface.batch_norm import Mode, recalibrate
from lossviz.surface.estimate import seconds_of_scan
from lossviz.surface.measure import surface
from lossviz.surface.slice import Slice
from tests.faults import tiny
from tests.faults.tiny import QUIET


class Count:
    """Counts the examples that go through a method of every objective."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes = self.forward = 0
        differentiate, evaluate = Objective.differentiate, Objective.evaluate

        def counted(objective: Objective, batch: Minibatch, **more: Any) -> object:
            self.passes += len(batch.targets)
            return differentiate(objective, batch, **more)

        def evaluated(objective: Objective, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
            found = evaluate(objective, batches)
            self.forward += found.examples
            return found

        monkeypatch.setattr(Objective, "differentiate", counted)
        monkeypatch.setattr(Objective, "evaluate", evaluated)


class CountForward:
    """Counts the examples that a scan evaluates at the points of its grid."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.points = self.examples = 0
        at, measured = Slice.at, evaluate

        def counted(part: Slice, where: Mapping[str, float]) -> dict[str, float]:
            self.points += 1
            return at(part, where)

        def evaluated(*arguments: Any) -> Evaluation:
            found = measured(*arguments)
            self.examples += found.examples
            return found

        monkeypatch.setattr(Slice, "at", counted)
        monkeypatch.setattr(surface_slice, "evaluate", evaluated)


def test_the_cost_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, count = tiny.setup(tmp_path, train={"steps": 10}), Count(monkeypatch)
    lines = plan.train(setup)
    train(setup, QUIET, StopRequest())
    assert count.passes == 80
    assert "10 steps of 8 examples: 80 forward and backward" in lines
    assert count.forward == 3 * (20 + 360)
    assert "3 evaluations: 1,140 examples forward" in lines
    assert len(setup.run.checkpoint_steps) == 4
    assert "4 checkpoints of " in lines[-1]
    size = setup.run.checkpoint_file(0).stat().st_size
    assert float(lines[-1].split()[-2]) == pytest.approx(size / 1e6, rel=0.3)


def test_the_cost_of_probing_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, count = tiny.setup(tmp_path), Count(monkeypatch)
    lines = plan.probe_training(setup)
    probe_training(setup, QUIET, StopRequest())
    assert count.passes == 12 * 8 + 5 * 3 * 8
    assert "5 measurements of 3 passes over 8 examples: 120 forward and backward" in lines
    assert lines[-1].endswith("and probe.nc")


def test_the_cost_of_probing_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    count = Count(monkeypatch)
    lines = plan.probe_checkpoints(setup)
    probe_checkpoints(setup, QUIET, StopRequest())
    assert count.passes == 4 * 3 * 8
    assert lines == ["4 measurements of 3 passes over 8 examples: 96 forward and backward", "writes probe.nc"]


@pytest.mark.parametrize(("y", "points"), [([0, 1, 2], 6), (None, 3)])
@pytest.mark.parametrize(("split", "examples"), [("train", 20), ("both", 40)])
def test_the_cost_of_a_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, y: list[int] | None, points: int, split: str, examples: int
) -> None:
    """Of the grid; beside it the first split at the checkpoint, by the plain path and by the scan's own."""
    setup = tiny.setup(tmp_path, surface={"y": y, "data": {"examples": 20, "split": split}})
    train(setup, QUIET, StopRequest())
    count = CountForward(monkeypatch)
    lines = plan.surface(setup)
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
    (line,) = plan.surface_time(setup)
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

    def slow(*arguments: Any) -> Mode:
        mode = recalibrated(*arguments)

        def network() -> nn.Module:
            now[0] += 2.0
            return mode.network()

        return replace(mode, network=network)

    def evaluated(*arguments: Any) -> Evaluation:
        found = evaluate(*arguments)
        now[0] += 0.5 * found.examples
        return found

    monkeypatch.setattr(surface_subject, "recalibrate", slow)
    monkeypatch.setattr(surface_slice, "evaluate", evaluated)
    monkeypatch.setattr(surface_pace, "_rate", lambda *_: 10.0)
    seconds, why = seconds_of_scan(setup, 50)
    assert seconds == pytest.approx(50 * (2.0 + 0.5 * 20))
    assert why.startswith("2 a batch: 10 examples/s")


@pytest.mark.parametrize(
    ("planned", "sections"),
    [
        (plan.train, {"train": {"batch_size": 2000}, "data": {"examples": "all"}}),
        (plan.train, {"train": {"eval_examples": 41}}),
        (plan.surface, {}),
        (plan.surface, {"surface": {"data": {"examples": 41}}}),
        (plan.surface, {"surface": {"checkpoint": 5}}),
        (plan.probe_checkpoints, {}),
    ],
)
def test_what_cannot_be_done_is_refused_beforehand(
    tmp_path: Path, planned: Callable[[Setup], list[str]], sections: dict[str, Any]
) -> None:
    setup = tiny.setup(tmp_path, **sections)
    with pytest.raises(RequestError):
        planned(setup)
    assert not setup.run.folder.exists()


def test_an_experiment_without_training_has_nothing_to_probe(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    without = tiny.setup(tmp_path, train=None)
    for planned in (plan.train, plan.probe_training, plan.probe_checkpoints):
        with pytest.raises(RequestError, match="no train section"):
            planned(without)
    assert plan.surface(without)[0].startswith("around ")
