"""What --dry-run says must be what then happens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossviz import plan
from lossviz.engine.objective import Objective
from lossviz.engine.setup import Setup
from lossviz.engine.train import train
from lossviz.errors import RequestError
from lossviz.probe.measure import probe_checkpoints, probe_training
from lossviz.results import load_results
from lossviz.signals import StopRequest
from lossviz.surface.measure import surface
from tests.faults import tiny
from tests.faults.tiny import QUIET


class Count:
    """Counts the examples that go through a method of every objective."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes = self.forward = 0
        differentiate, evaluate = Objective.differentiate, Objective.evaluate

        def counted(objective: Objective, batch: object) -> object:
            self.passes += len(batch.targets)  # type: ignore[attr-defined]
            return differentiate(objective, batch)  # type: ignore[arg-type]

        def evaluated(objective: Objective, batches: object) -> object:
            found = evaluate(objective, batches)  # type: ignore[arg-type]
            self.forward += found.examples
            return found

        monkeypatch.setattr(Objective, "differentiate", counted)
        monkeypatch.setattr(Objective, "evaluate", evaluated)


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
def test_the_cost_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, y: list[int] | None, points: int) -> None:
    setup = tiny.setup(tmp_path, surface={"y": y})
    train(setup, QUIET, StopRequest())
    count = Count(monkeypatch)
    lines = plan.surface(setup)
    surface(setup, QUIET, StopRequest())
    assert load_results(setup.run.surface_file("main"))["status"].size == points
    assert count.forward == points * 20
    assert f"{points} points of 20 examples: {points * 20} forward" in lines
    assert lines[0] == f"around {setup.run.checkpoint_file(12)}"


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
