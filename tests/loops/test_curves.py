"""Curves of somebody else's loop, and the figures that `lossviz plot` makes of its folder."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz import Probe
from lossviz.errors import RequestError
from lossviz.plot.kit.edge import edge_of
from lossviz.plot.kit.style import look
from lossviz.plot.series import Series
from lossviz.results import TrainResults, load_results
from tests.faults import tiny


def batch(step: int) -> tuple[Tensor, Tensor]:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(step)), torch.arange(8) % 3


def loop(folder: Path, momentum: float, steps: int = 12, first: int = 0, record: bool = True) -> nn.Module:
    """A training with all that can be recorded."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    group = {"params": model.parameters(), "lr": 0.1, "momentum": momentum}  # as of several groups
    optimizer = torch.optim.SGD([group], lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4)
    measures = ["landscape", "shift", "sharpness", "critical-sharpness"]
    with Probe(folder, model, optimizer=optimizer, every=3, measures=measures, layers=[1]) as probe:
        for step in range(first, steps):
            inputs, targets = batch(step)
            probe((inputs, targets), step)
            outputs = model(inputs)
            loss = functional.cross_entropy(outputs, targets)
            accuracy = 100 * (outputs.argmax(1) == targets).float().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if record:
                probe.record(loss=loss, accuracy=accuracy, lr=optimizer.param_groups[0]["lr"])
                if step % 5 == 4:
                    probe.record(val_loss=float(step), val_error=50.0)
            schedule.step()
    return model


def test_a_rate_that_the_loop_sets_by_hand_is_not_the_one_that_it_began_with(tmp_path: Path) -> None:
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(tmp_path, model, optimizer=optimizer, every=1, measures=["landscape"]) as probe:
        for step in range(3):
            probe(batch(step))
            probe.record(loss=1.0)
            optimizer.param_groups[0]["lr"] = 0.05
    assert {load_results(tmp_path / name).attrs["lr"] for name in ("train.nc", "probe.nc")} == {0.1}


def test_curves_by_step_and_by_evaluation(tmp_path: Path) -> None:
    loop(tmp_path, momentum=0.9)
    found = load_results(tmp_path / "train.nc")
    assert found.step.values.tolist() == list(range(12))
    assert found.eval_step.values.tolist() == [5, 10]  # updates before: that of step 4 was taken
    assert found.val_loss.values.tolist() == [4.0, 9.0]
    np.testing.assert_allclose(found.lr, [0.1] * 4 + [0.01] * 4 + [0.001] * 4)
    probed = load_results(tmp_path / "probe.nc")
    np.testing.assert_allclose(found.loss.sel(step=probed.step), probed.loss, rtol=1e-6)
    np.testing.assert_allclose(probed.lr, [0.1, 0.1, 0.01, 0.001])
    assert (probed.attrs["lr"], found.attrs["lr"]) == (0.1, 0.1)
    assert found.loss.attrs == {"long_name": "mean loss of the minibatch, before the update", "units": "nat"}
    assert (TrainResults(found).planned, TrainResults(found).recorded) == (12, 12)


def test_a_second_process_replaces_what_it_records_again(tmp_path: Path) -> None:
    with Probe(tmp_path, nn.Linear(6, 3)) as probe:
        for step in range(6):
            probe(batch(step), step)
            probe.record(loss=1.0)
        probe.record(val_error=10.0)
    with Probe(tmp_path, nn.Linear(6, 3)) as probe:
        for step in range(4, 8):
            probe(batch(step), step)
            probe.record(loss=torch.tensor(2.0))
    found = load_results(tmp_path / "train.nc")
    assert found.loss.values.tolist() == [1.0] * 4 + [2.0] * 4
    assert (found.eval_step.values.tolist(), found.val_error.values.tolist()) == ([6], [10.0])
    assert np.isnan(found.accuracy).all()  # as of a regression


def test_what_is_recorded_before_the_first_call_is_of_its_step(tmp_path: Path) -> None:
    """In a process that goes on too, which knows its step then; one without a step records nothing."""
    for first in (0, 3, None):
        with Probe(tmp_path, nn.Linear(6, 3)) as probe:
            probe.record(val_loss=torch.tensor(first or 0.0), loss=-1.0)
            for step in () if first is None else range(first, first + 3):
                probe(batch(step), step)
                probe.record(loss=float(step))
            if first is not None:
                probe.record(val_loss=first + 3)
    found = load_results(tmp_path / "train.nc")
    assert found.loss.values.tolist() == list(range(6))
    assert found.eval_step.values.tolist() == found.val_loss.values.tolist() == [0, 3, 6]


def test_a_step_without_a_number_has_nan_and_a_loss_of_nan_is_a_result(tmp_path: Path) -> None:
    with Probe(tmp_path, nn.Linear(6, 3), every=100) as probe:
        for step in range(1, 10, 2):
            probe(batch(step), step)
            probe.record(loss=math.nan if step == 3 else step, **({"penalty": 1} if step == 5 else {}))
    found = load_results(tmp_path / "train.nc")
    assert found.step.values.tolist() == [1, 3, 5, 7, 9]
    np.testing.assert_array_equal(found.loss, [1, math.nan, 5, 7, 9])
    np.testing.assert_array_equal(found.penalty, [math.nan, math.nan, 1, math.nan, math.nan])
    assert not (tmp_path / "probe.nc").exists()
    assert (TrainResults(found).planned, TrainResults(found).recorded) == (10, 10)
    np.testing.assert_array_equal(TrainResults(found).curve("loss"), [1, math.nan, 5, 7, 9])
    assert TrainResults(found).curve("penalty").step.values.tolist() == [5]
    assert TrainResults(found).curve("accuracy").size == 0
    with Probe(tmp_path, nn.Linear(6, 3), every=100) as probe:  # what is recorded stays so
        probe(batch(11), 11)
        probe.record(loss=1.0)
    found = load_results(tmp_path / "train.nc")
    np.testing.assert_array_equal(TrainResults(found).curve("loss"), [1, math.nan, 5, 7, 9, 1])
    assert TrainResults(found).curve("penalty").step.values.tolist() == [5]


def test_what_is_not_of_train_nc_is_refused(tmp_path: Path) -> None:
    with Probe(tmp_path, nn.Linear(6, 3)) as probe:
        with pytest.raises(RequestError, match=r"record\(val_los=...\): is not a variable .* did you mean val_loss"):
            probe.record(val_los=1.0)
        with pytest.raises(RequestError, match=r"record\(loss=...\): is a tensor \(8,\)\n  accepted: one number"):
            probe.record(loss=torch.zeros(8))
        text: Any = "0.5"
        with pytest.raises(RequestError, match=r"record\(loss=...\): is str\n  accepted: one number"):
            probe.record(loss=text)


def test_the_figures_are_those_of_a_run(tmp_path: Path) -> None:
    for name, momentum in (("plain", 0.0), ("heavy", 0.9)):
        loop(tmp_path / "mine" / name, momentum)
    answer = tiny.lossviz("plot", tmp_path / "mine")
    assert answer.status == 0, answer.err
    drawn = {path.stem for path in (tmp_path / "mine" / "figures").iterdir()}
    assert drawn == {"training", "landscape", "shift", "sharpness", "scalars"}
    assert tiny.lossviz("plot", tmp_path / "mine" / "heavy", "--figure", "sharpness", "--reference").status == 2
    answer = tiny.lossviz("plot", tmp_path / "mine" / "heavy", "--figure", "sharpness", "--format", "svg")
    assert answer.status == 0, answer.err
    assert (tmp_path / "mine" / "heavy" / "figures" / "sharpness.svg").exists()


@pytest.mark.parametrize(("momentum", "factor"), [(0.0, 2.0), (0.9, 3.8)])
def test_the_edge_of_stability_is_that_of_the_optimizer_and_of_each_learning_rate(
    tmp_path: Path, momentum: float, factor: float
) -> None:
    """2(1 + beta) / lr, without any train.nc."""
    loop(tmp_path, momentum, record=False)
    edge = edge_of(Series("mine", look(0), load_results(tmp_path / "probe.nc")))
    assert edge is not None
    np.testing.assert_allclose(edge.values, factor / np.array([0.1, 0.1, 0.01, 0.001]))


def test_what_a_folder_lacks_is_told_without_commands_that_do_not_fit(tmp_path: Path) -> None:
    with Probe(tmp_path / "mine" / "run", nn.Linear(6, 3)) as probe:
        probe(batch(0))
    for figure, says in (
        ("training", "lossviz.Probe.record, in the loop"),
        ("sharpness", "lossviz.Probe, in the loop, with it among its measures"),
        ("contour", "lossviz.loss_surface"),
    ):
        answer = tiny.lossviz("plot", tmp_path / "mine", "--figure", figure)
        assert answer.status == 2
        assert says in answer.err
    for command in ("probe", "surface"):
        answer = tiny.lossviz(command, tmp_path / "mine" / "run")
        assert answer.status == 2
        assert "comes from a training loop" in answer.err
