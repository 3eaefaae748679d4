"""Rules 1 and 2: every step is a pure function of the seed and the step, and measuring changes nothing."""

import signal
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lossviz.data.split import Split
from lossviz.distributed.group import Group
from lossviz.distributed.ranks import UnreachableError
from lossviz.engine.checkpoint import load_tensors
from lossviz.engine.objective import Objective
from lossviz.engine.tokens import OfTokens
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.setup import Setup
from lossviz.signals import Stopped, StopRequest
from lossviz.training.command import begin, train
from lossviz.training.files import TrainingFiles
from lossviz.training.loop import TrainingLoop
from tests.faults import tiny
from tests.faults.tiny import QUIET, Interrupter

COSINE = {"kind": "cosine"}
# Two digits of difference never happen, so that every second evaluation is a plateau.
PLATEAU = {"kind": "plateau", "patience": 2, "min_delta": 100.0, "gamma": 0.5}
TRAININGS: dict[str, dict[str, Any]] = {
    "sgd": {"train": {"weight_decay": 1e-3}},
    "momentum": {"train": {"momentum": 0.9, "weight_decay": 1e-3}, "data": {"augment": "crop-flip"}},
    "nesterov": {"train": {"momentum": 0.9, "nesterov": True, "schedule": COSINE, "warmup": 4}},
    "adam": {"train": {"optimizer": "adam", "lr": 0.01, "weight_decay": 1e-3}, "model": {"norm": "batch"}},
    "adamw": {
        "train": {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "schedule": COSINE, "warmup": 2},
        "data": {"augment": "crop-flip"},
        "model": {"norm": "noisy-batch"},
    },
    "steps": {"train": {"schedule": {"kind": "step", "milestones": [5, 9]}}, "model": {"norm": "batch"}},
    "plateau": {"train": {"schedule": PLATEAU, "eval_every": 2, "momentum": 0.9}},
    "pieces": {"train": {"micro_batch": 3}, "model": {"norm": "noisy-batch"}, "data": {"augment": "crop-flip"}},
    "he": {"train": {"warmup": 3, "warmup_lr": 0.01, "eval_examples": "none", "precision": "bfloat16"}},
}


def started(setup: Setup) -> TrainingLoop:
    return begin(setup, TrainingFiles(setup.run), setup.train.steps)


def interrupt(setup: Setup, at: int) -> None:
    """Train until a request to stop before step `at`."""
    stop = StopRequest()
    with pytest.raises(Stopped, match="SIGTERM"):
        train(setup, QUIET, stop, Interrupter(stop, at))


@pytest.mark.parametrize("sections", TRAININGS.values(), ids=TRAININGS)
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path, sections: dict[str, Any]) -> None:
    whole, pieces = tiny.setup(tmp_path, **sections), tiny.setup(tmp_path, "pieces", **sections)
    train(whole, QUIET, StopRequest())
    for at in (1, 6, 7, 11):
        interrupt(pieces, at)
    train(pieces, QUIET, StopRequest())
    assert tiny.everything(pieces.run) == tiny.everything(whole.run)
    assert len(tiny.checkpoints(whole.run)) == 4
    assert load_results(whole.run.train_file).attrs == load_results(pieces.run.train_file).attrs


def test_a_stop_keeps_every_step_so_far(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    interrupt(setup, 7)
    assert load_results(setup.run.train_file).sizes["step"] == 7
    assert started(setup).step == 7
    assert setup.run.checkpoint_steps == [0, 4]
    assert setup.run.record()["train"]["status"] == "interrupted"


@pytest.mark.parametrize(("agreed", "status"), [(True, "interrupted"), (False, "failed")])
def test_a_process_that_has_ended_is_a_failure_unless_all_agreed_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agreed: bool, status: str
) -> None:
    """torchrun asks the others to stop where one of them crashes: that alone makes no interruption of it."""
    setup, stop, asked = tiny.setup(tmp_path), StopRequest(), count()

    def largest(_: Group, *numbers: int) -> list[int]:
        if stop and next(asked) >= agreed:
            raise UnreachableError("another of the processes has ended")
        return list(numbers)

    monkeypatch.setattr(Group, "largest", largest)
    with pytest.raises(Stopped if agreed else UnreachableError):
        train(setup, QUIET, stop, Interrupter(stop, 7))
    assert setup.run.record()["train"]["status"] == status
    assert next(asked) == 1 + agreed, "all wait for one another at the end"


def test_a_request_that_comes_while_the_processes_agree_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come to all of them then: torchrun dies, and each sees it within a second. They stop at the next step."""
    setup, stop, steps = tiny.setup(tmp_path), StopRequest(), count()

    def largest(_: Group, *numbers: int) -> list[int]:
        if next(steps) == 7:
            stop.number = signal.SIGTERM
        return list(numbers)

    monkeypatch.setattr(Group, "largest", largest)
    with pytest.raises(Stopped, match="SIGTERM"):
        train(setup, QUIET, stop)
    assert started(setup).step <= 8


def test_updates_are_those_of_torch(tmp_path: Path) -> None:
    """Against the loop everybody writes: loss.backward(), optimizer.step()."""
    setup = tiny.setup(tmp_path, train={"momentum": 0.9, "weight_decay": 1e-3})
    train(setup, QUIET, StopRequest())
    model, minibatches = setup.model(), setup.minibatches()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    losses = []
    for step in range(12):
        batch = minibatches(step)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(batch.inputs), batch.targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert load_results(setup.run.train_file)["loss"].values.tolist() == pytest.approx(losses, rel=1e-6)
    saved = load_tensors(setup.run.checkpoint_file(12))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(saved[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_mixed_precision_is_close_and_on_record(tmp_path: Path) -> None:
    """bfloat16 has 8 bits; weights stay in float32."""
    mixed, plain = tiny.setup(tmp_path, "mixed", train={"precision": "bfloat16"}), tiny.setup(tmp_path, "plain")
    for setup in (mixed, plain):
        train(setup, QUIET, StopRequest())
    assert mixed.run.record()["train"]["compute"]["precision"] == "bfloat16"
    assert {tensor.dtype for tensor in load_tensors(mixed.run.checkpoint_file(12)).values()} == {torch.float32}
    found, exact = (load_results(setup.run.train_file)["loss"].values for setup in (mixed, plain))
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, rtol=2**-6)


def test_nothing_is_said_of_a_training_set_that_is_not_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = tiny.setup(tmp_path, train={"eval_examples": "none"})
    train(setup, Report(), StopRequest())
    whole = tiny.setup(tmp_path, "whole")
    train(whole, QUIET, StopRequest())
    curves, more = load_results(setup.run.train_file), load_results(whole.run.train_file)
    assert set(more.variables) - set(curves.variables) == {"train_loss", "train_error"}
    assert curves["val_loss"].equals(more["val_loss"])
    assert "trained (12 steps), error " in (said := capsys.readouterr().out)
    assert "training set" not in said


def test_a_stop_after_the_loss_stopped_being_finite_is_a_divergence(tmp_path: Path) -> None:
    """The state to resume from must never be one that the results have cut off."""
    setup = tiny.setup(tmp_path, train={"lr": 1e30, "checkpoint_every": 100, "eval_every": 100})
    interrupt(setup, 5)
    assert load_results(setup.run.train_file).attrs["diverged_at"] == 1
    assert started(setup).step <= 1
    assert train(setup, QUIET, StopRequest()) == 1
    assert load_results(setup.run.train_file).sizes["step"] == 2


class Recorded(Group):
    """Keeps what a process gives to a mean over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[float, float]] = []

    def mean(self, values: Sequence[float], weight: float) -> list[float]:
        self.given += [(value, weight) for value in values]
        return list(values)


def test_ragged_sequences_have_one_loss_and_error_on_any_number_of_processes(tmp_path: Path) -> None:
    """The loss is a mean over tokens, and the error one over sequences."""
    torch.manual_seed(0)
    inputs, targets = torch.randint(0, 5, (2, 6, 7))
    targets[:2, 1:], targets[4, 2:] = -100, -100
    training = started(tiny.setup(tmp_path, train={"eval_examples": "none"}))
    training.objective = Objective(torch.nn.Embedding(5, 5), OfTokens())

    def evaluated(*rows: slice) -> list[list[tuple[float, float]]]:
        found = []
        for each in rows:
            training.group = group = Recorded()
            one = torch.ones(1, 1, 1)
            training.evaluated = {"val": Split(inputs[each], targets[each], 0 * one, one)}
            training._evaluate()
            found.append(group.given)
        return found

    ((loss, error),) = evaluated(slice(6))
    halves = evaluated(slice(3), slice(3, 6))
    for (whole, _), *parts in zip((loss, error), *halves, strict=True):
        total = sum(weight for _, weight in parts)
        assert sum(value * weight / total for value, weight in parts) == pytest.approx(whole)
