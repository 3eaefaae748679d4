"""What --dry-run says must be what then happens."""

import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine import losses
from lossviz.engine.checkpoint import load_tensors
from lossviz.engine.evaluation import Evaluation
from lossviz.engine.objective import Objective
from lossviz.engine.views import over_views
from lossviz.errors import RequestError
from lossviz.models.build import count_parameters
from lossviz.probe.command import plan_along_training, plan_at_checkpoints, probe_checkpoints, probe_training
from lossviz.results import load_results
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.surface.cost import surface_lines
from lossviz.surface.plan import ScanPlan
from lossviz.training.command import train
from lossviz.training.plan import plan_training
from tests.data.photographs import write_tree
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


def test_the_cost_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, count = tiny.setup(tmp_path, train={"steps": 10}), Count(monkeypatch)
    lines = plan_training(setup)
    train(setup, QUIET, StopRequest())
    assert count.passes == 80
    assert "10 steps of 8 examples: 80 forward and backward" in lines
    assert count.forward == 3 * (20 + 360)
    assert "3 evaluations: 1,140 examples forward" in lines
    assert len(setup.run.checkpoint_steps) == 4


@pytest.mark.parametrize(
    ("keys", "dtype"),
    [
        ({}, 4),
        ({"momentum": 0.9}, 4),
        ({"momentum": 0.9, "precision": "float64"}, 8),
        ({"optimizer": "adam"}, 4),
        ({"optimizer": "adamw"}, 4),
    ],
)
def test_the_size_of_what_a_training_writes(tmp_path: Path, keys: dict[str, Any], dtype: int) -> None:
    """Wide enough that names and headers do not matter."""
    setup = tiny.setup(tmp_path, model={"width": 0.2, "norm": "batch"}, train={"steps": 1, **keys})
    said = re.fullmatch(
        r"writes train\.nc, 2 checkpoints of (.*) MB and resume\.pt of (.*) MB", plan_training(setup)[-1]
    )
    assert said
    train(setup, QUIET, StopRequest())
    for number, file in zip(said.groups(), (setup.run.checkpoint_file(1), setup.run.resume_file), strict=True):
        assert float(number) == pytest.approx(file.stat().st_size / 1e6, rel=0.1)
    assert float(said[1]) == pytest.approx(dtype * count_parameters(setup.model()) / 1e6, rel=0.1)


def test_every_crop_of_an_evaluation_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of an image of val/, one of a training image; in scans too."""
    folder = write_tree(tmp_path / "pictures")
    data = {"name": "imagefolder", "root": str(folder), "image_size": 32, "evaluation": "ten-crop", "examples": "all"}
    setup = tiny.setup(tmp_path, data=data, surface={"data": {"examples": 8, "split": "both"}})
    seen = [0]

    def counted(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        seen[0] += inputs.shape[:-3].numel() if not torch.is_grad_enabled() else 0
        return over_views(forward, inputs)

    monkeypatch.setattr(losses, "over_views", counted)
    train(setup, QUIET, StopRequest())
    assert seen == [3 * (20 + 9 * 10)]
    assert "3 evaluations: 330 examples forward" in plan_training(setup)
    assert "6 points of 16 examples: 528 forward" in surface_lines(ScanPlan(setup))


def test_the_cost_of_probing_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup, count = tiny.setup(tmp_path), Count(monkeypatch)
    lines = plan_along_training(setup)
    probe_training(setup, QUIET, StopRequest())
    assert count.passes == 12 * 8 + 5 * 3 * 8
    assert "5 measurements of 3 passes over 8 examples: 120 forward and backward" in lines
    assert lines[-1].endswith("and probe.nc")


def test_the_cost_of_probing_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    count = Count(monkeypatch)
    lines = plan_at_checkpoints(setup)
    probe_checkpoints(setup, QUIET, StopRequest())
    assert count.passes == 4 * 3 * 8
    assert lines == ["4 measurements of 3 passes over 8 examples: 96 forward and backward", "writes probe.nc"]


@pytest.mark.parametrize(
    ("planned", "sections"),
    [
        (plan_training, {"train": {"batch_size": 2000}, "data": {"examples": "all"}}),
        (plan_training, {"train": {"eval_examples": 41}}),
        (ScanPlan, {}),
        (ScanPlan, {"surface": {"data": {"examples": 41}}}),
        (ScanPlan, {"surface": {"checkpoint": 5}}),
        (plan_at_checkpoints, {}),
    ],
)
def test_what_cannot_be_done_is_refused_beforehand(
    tmp_path: Path, planned: Callable[[Setup], object], sections: dict[str, Any]
) -> None:
    setup = tiny.setup(tmp_path, **sections)
    with pytest.raises(RequestError):
        planned(setup)
    assert not setup.run.folder.exists()


@pytest.mark.parametrize("norm", ["batch", "linf"])
def test_a_probe_does_not_go_along_where_batch_norm_sees_pieces(tmp_path: Path, norm: str) -> None:
    setup = tiny.setup(tmp_path, model={"norm": norm}, train={"micro_batch": 4})
    train(setup, QUIET, StopRequest())
    before = tiny.tree(tmp_path)
    for probe in (probe_training, probe_checkpoints):
        with pytest.raises(
            RequestError, match=r"train\.micro_batch = 4: is below .*batch_size = 8: BatchNorm sees pieces"
        ):
            probe(setup, QUIET, StopRequest())
    for planned in (plan_along_training, plan_at_checkpoints):
        with pytest.raises(RequestError, match=r"takes a minibatch whole\n  accepted: all"):
            planned(setup)
    assert tiny.tree(tmp_path) == before


def test_a_probe_along_a_training_in_pieces_sees_the_loss_and_gradient_of_the_step(tmp_path: Path) -> None:
    """Without BatchNorm, to rounding; the update of plain descent is the gradient."""
    pieces = {"micro_batch": 3, "precision": "float64", "checkpoint_every": 1, "steps": 3}
    setup = tiny.setup(tmp_path, train=pieces, probe={"every": 1})
    assert plan_along_training(setup)
    probe_training(setup, QUIET, StopRequest())
    probed = load_results(setup.run.probe_file)
    losses = load_results(setup.run.train_file)["loss"].values
    assert probed["loss"].values[:3] == pytest.approx(losses, rel=1e-12)
    points = [load_tensors(setup.run.checkpoint_file(step)) for step in range(4)]
    steps = [sum(float((y[name] - x[name]).square().sum()) for name in x) for x, y in pairwise(points)]
    assert probed["grad_norm"].values[:3] == pytest.approx(np.sqrt(steps) / 0.05, rel=1e-9)
    whole = tiny.setup(tmp_path, "whole", model={"norm": "batch"}, train={**pieces, "micro_batch": 8})
    assert plan_along_training(whole)


@pytest.mark.parametrize("processes", [[[0, 2]], [[0, 1], [4, 2], [8, 1]], 2])
def test_a_probe_does_not_go_along_where_several_processes_trained(tmp_path: Path, processes: object) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    setup.run.note("train", processes=processes)
    since = " from step 4 on" if processes == [[0, 1], [4, 2], [8, 1]] else ""
    with pytest.raises(RequestError, match=f"tiny: was trained by 2 processes{since}, and a probe goes along in one\n"):
        plan_along_training(setup)
    assert plan_at_checkpoints(setup)
    for alone in ([[0, 1]], 1, []):
        setup.run.note("train", processes=alone)
        assert plan_along_training(setup)


def test_an_experiment_without_training_has_nothing_to_probe(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    without = tiny.setup(tmp_path, train=None)
    for planned in (plan_training, plan_along_training, plan_at_checkpoints):
        with pytest.raises(RequestError, match="no train section"):
            planned(without)
    assert surface_lines(ScanPlan(without))[0].startswith("around ")
