"""Training in several processes: the same numbers, the same decisions, and the same training when one dies."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from lossviz.config import Config
from lossviz.distributed.group import joined
from lossviz.distributed.ranks import ranks
from lossviz.engine.checkpoint import fit, load_tensors
from lossviz.errors import RequestError
from lossviz.probe.command import plan_along_training, probe_checkpoints, probe_training
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import Run, run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import Stopped, StopRequest
from lossviz.training.command import train
from lossviz.training.stepper import Stepper
from tests.faults import tiny
from tests.faults.tiny import QUIET, Interrupter
from tests.training.together import assert_same_network, together

# Nine examples and 21 evaluated ones do not share out evenly.
TRAIN: dict[str, Any] = {"batch_size": 9, "eval_examples": 21, "momentum": 0.9, "precision": "float64"}


def sum_up(rank: int) -> None:
    """Numbers beside gradients must not make these travel in double precision."""
    sent, reduce = [], distributed.all_reduce

    def heard(tensor: Tensor, *more: Any) -> None:
        sent.append((tensor.dtype, tensor.numel()))
        reduce(tensor, *more)

    with joined(ranks(), torch.device("cpu"), "sums") as group, patch.object(distributed, "all_reduce", heard):
        given = [torch.tensor([1.0 + rank, 2.0]), torch.tensor(2**-40 + rank, dtype=torch.float64), torch.ones(3, 1)]
        found = group.total(given)
    assert sent == [(torch.float32, 5), (torch.float64, 1)]
    assert [each.dtype for each in found] == [each.dtype for each in given]
    assert [each.tolist() for each in found] == [[3.0, 4.0], 1 + 2**-39, [[2.0]] * 3]


def test_sums_travel_in_their_own_precision() -> None:
    assert together(2, sum_up) == [0, 0]


def pair(folder: Path, **sections: Any) -> tuple[Setup, Setup]:
    """The tiny training in float64, twice."""
    sections["train"] = {**TRAIN, **sections.get("train", {})}
    alone, several = (tiny.setup(folder, out, **sections) for out in ("alone", "several"))
    return alone, several


@dataclass(frozen=True)
class Member:
    """One process of a training; something may happen to one of them.

    Attributes:
        folder: that of `pair`.
        out: where the run goes.
        config: what is trained.
        stops: rank that gets a SIGTERM, and before which step.
        dies: rank that gets a kill -9, and when in which step.
        odd: what the last rank trains instead.
        away: rank that does not see the folder.
    """

    folder: Path
    out: str
    config: Config
    stops: tuple[int, int] = (-1, 0)
    dies: tuple[int, int] = (-1, 0)
    odd: Config | None = None
    away: int = -1

    def __call__(self, rank: int) -> None:
        config = self.odd if self.odd and rank else self.config
        out, stop = self.folder / ("elsewhere" if rank == self.away else self.out), StopRequest()
        if rank == self.dies[0]:
            _die_at(self.dies[1])
        setup = prepare(config, run_of(config, out), "cpu")
        train(setup, QUIET, stop, Interrupter(stop, self.stops[1]) if rank == self.stops[0] else None)


def _die_at(step: int) -> None:
    take = Stepper.take

    def dying(stepper: Stepper, gradient: Any, at: int) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)
        take(stepper, gradient, at)

    pytest.MonkeyPatch().setattr(Stepper, "take", dying)


def curves(run: Run) -> dict[str, np.ndarray]:
    found = load_results(run.train_file)
    return {str(name): found[name].values for name in found.variables}


@pytest.mark.parametrize(
    "sections",
    [{"data": {"augment": "crop-flip"}}, {"model": {"norm": "batch"}, "train": {"sync_bn": True}}],
    ids=["plain", "sync_bn"],
)
def test_the_number_of_processes_makes_no_difference(tmp_path: Path, sections: dict[str, Any]) -> None:
    """But for the last digits: gradients, statistics of BatchNorm, evaluations, order and augmentation."""
    alone, several = pair(tmp_path, **sections)
    train(alone, QUIET, StopRequest())
    assert together(2, Member(tmp_path, "several", several.config)) == [0, 0]
    assert_same_network(several, alone)
    expected = curves(alone.run)
    for name, values in curves(several.run).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-10, atol=1e-12, err_msg=name)
    assert several.run.record()["train"]["processes"] == [[0, 2]]


def test_pieces_may_come_one_after_another_or_at_once(tmp_path: Path) -> None:
    """Each has its own noise and its own statistics of BatchNorm; only the running ones are one process's."""
    alone, several = pair(tmp_path, model={"norm": "noisy-batch"})
    pieces = tiny.setup(tmp_path, "alone", model={"norm": "noisy-batch"}, train={**TRAIN, "micro_batch": 5})
    train(pieces, QUIET, StopRequest())
    assert together(2, Member(tmp_path, "several", several.config)) == [0, 0]
    assert_same_network(several, alone, but=("running_mean", "running_var", "num_batches_tracked"))
    # What is evaluated is what is saved, although each process has running statistics of its own.
    objective = several.objective()
    fit(objective.model, load_tensors(several.run.checkpoint_file(12)), several.run.folder)
    expected = objective.evaluate(several.data.test.batches(64)).loss
    assert curves(several.run)["val_loss"][-1] == pytest.approx(expected, rel=1e-12)


def test_a_stop_of_one_is_a_stop_of_all_at_the_same_step(tmp_path: Path) -> None:
    whole, pieces = pair(tmp_path)
    assert together(2, Member(tmp_path, "alone", whole.config)) == [0, 0]
    assert together(2, Member(tmp_path, "several", pieces.config, stops=(1, 7))) == [143, 143]
    assert load_results(pieces.run.train_file).sizes["step"] == 7
    assert pieces.run.record()["train"]["status"] == "interrupted"
    assert together(2, Member(tmp_path, "several", pieces.config)) == [0, 0]
    assert tiny.everything(pieces.run) == tiny.everything(whole.run)


def test_a_divergence_ends_all(tmp_path: Path) -> None:
    _, several = pair(tmp_path, train={"lr": 1e300})
    assert together(2, Member(tmp_path, "several", several.config)) == [0, 0]
    assert load_results(several.run.train_file).attrs["diverged_at"] == 1


@pytest.mark.parametrize("dies", [0, 1])
def test_after_a_death_any_number_of_processes_goes_on(tmp_path: Path, dies: int) -> None:
    alone, several = pair(tmp_path)
    train(alone, QUIET, StopRequest())
    statuses = together(2, Member(tmp_path, "several", several.config, dies=(dies, 6)))
    assert statuses[dies] == -signal.SIGKILL
    assert statuses[1 - dies] == 1  # an error that says so, not a traceback
    assert several.run.checkpoint_steps == [0, 4]
    assert together(3, Member(tmp_path, "several", several.config)) == [0, 0, 0]
    assert_same_network(several, alone)


def test_the_record_says_how_many_processes_trained_which_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what is there: steps that were lost with a process were not trained; and it is said what that means."""
    _, several = pair(tmp_path, model={"norm": "batch"}, probe={"every": 6})
    assert together(2, Member(tmp_path, "several", several.config, dies=(1, 6)))[1] == -signal.SIGKILL
    assert several.run.record()["train"]["processes"] == [[0, 2]]
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(several, Report(), stop, Interrupter(stop, 8))
    assert several.run.record()["train"]["processes"] == [[0, 2], [4, 1]]
    said = capsys.readouterr().out
    assert "warning: resuming with 1 process after 2: BatchNorm sees other groups of images (" in said
    assert together(3, Member(tmp_path, "several", several.config)) == [0, 0, 0]
    assert several.run.record()["train"]["processes"] == [[0, 2], [4, 1], [8, 3]]
    for probed in (plan_along_training, lambda setup: probe_training(setup, QUIET, StopRequest())):
        with pytest.raises(
            RequestError, match=r"was trained by 2 processes, and a probe goes along in one\n.*lossviz probe"
        ):
            probed(several)
    assert not several.run.probe_file.exists()
    probe_checkpoints(several, QUIET, StopRequest())
    assert load_results(several.run.probe_file)["step"].values.tolist() == [0, 4, 8, 12]


def test_processes_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    _, several = pair(tmp_path)
    other = several.config.model_copy(update={"seed": 1})
    assert together(2, Member(tmp_path, "several", several.config, odd=other), tmp_path / "said") == [2, 2]
    assert "they have different data, configuration\n" in (tmp_path / "said").read_text()
    assert not several.run.train_file.exists()


def test_processes_that_begin_elsewhere_are_refused(tmp_path: Path) -> None:
    """Such as on two machines that do not share the folder, of which only one has something to go on from."""
    _, several = pair(tmp_path)
    assert together(2, Member(tmp_path, "several", several.config, stops=(0, 7))) == [143, 143]
    assert together(2, Member(tmp_path, "several", several.config, away=1), tmp_path / "said") == [2, 2]
    assert "they have different weights\n" in (tmp_path / "said").read_text()
    assert load_results(several.run.train_file).sizes["step"] == 7


def test_only_the_first_writes(tmp_path: Path) -> None:
    """Where another one writes too, their records may overtake one another."""
    _, several = pair(tmp_path)
    assert together(2, Member(tmp_path, "several", several.config, away=1)) == [0, 0]
    assert not (tmp_path / "elsewhere").exists()


def test_torchrun(tmp_path: Path) -> None:
    alone, several = pair(tmp_path)
    train(alone, QUIET, StopRequest())
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lossviz"]
    file = tiny.write(tmp_path, train=TRAIN)
    command = [sys.executable, *torchrun, "train", str(file), "--out", str(tmp_path / "several"), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_network(several, alone)
    assert done.stdout.count("trained (12 steps)") == 1


def test_torchrun_cannot_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    answer = tiny.lossviz("probe", tiny.write(tmp_path), "--out", tmp_path)
    assert answer.status == 2
    assert "this command works in one process, and torchrun started 2" in answer.err
