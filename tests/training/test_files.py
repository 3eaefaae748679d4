"""What a replay compares: the checkpoints that the training wrote."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lossviz.engine.checkpoint import load_tensors, save_tensors
from lossviz.errors import WorkError
from lossviz.probe.command import probe_training
from lossviz.probe.prober import Prober
from lossviz.results import load_results
from lossviz.signals import Stopped, StopRequest
from lossviz.training.command import train
from tests.faults import tiny
from tests.faults.tiny import QUIET


def test_a_replay_that_departs_says_where(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    file = setup.run.checkpoint_file(4)
    tensors = load_tensors(file)
    name = next(iter(tensors))
    tensors[name] = torch.nextafter(tensors[name], torch.tensor(2.0))
    save_tensors(file, tensors)
    with pytest.raises(WorkError, match=f"step-00000004.*departs from the training before step 4 .*{name}"):
        probe_training(setup, QUIET, StopRequest())
    assert tiny.checkpoints(setup.run)[file.name] == file.read_bytes()


@pytest.mark.parametrize("stops_at", [None, 6])
def test_nothing_of_a_replay_that_departs_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops_at: int | None
) -> None:
    """What it measured after the last checkpoint that agreed, and the state from which it would go on; no other steps.

    Also what an earlier process measured, which was stopped between two checkpoints.
    """
    probe_training(tiny.setup(tmp_path, probe={"every": 5}), QUIET, StopRequest())  # along the training
    setup = tiny.setup(tmp_path, probe={"every": 1})
    file, stop, observe = setup.run.checkpoint_file(8), StopRequest(), Prober.observe
    right = file.read_bytes()
    save_tensors(file, {name: tensor + 1 for name, tensor in load_tensors(file).items()})

    def stopping(prober: Prober, step: int, *present: Any) -> None:
        observe(prober, step, *present)
        if step == stops_at:
            stop.number = signal.SIGTERM

    if stops_at is not None:
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(Prober, "observe", stopping)
            probe_training(setup, QUIET, stop)
        assert load_results(setup.run.probe_file)["step"].values.tolist() == [0, 1, 2, 3, 4, 5, 6, 10, 12]
    with pytest.raises(WorkError, match="departs from the training before step 8"):
        probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.probe_file)["step"].values.tolist() == [0, 1, 2, 3, 4, 5, 10, 12]
    assert not setup.run.replay_file.exists()
    file.write_bytes(right)
    probe_training(setup, QUIET, StopRequest())
    found = load_results(setup.run.probe_file)
    assert found["step"].values.tolist() == list(range(13))
    assert "doubtful" not in found.attrs


def test_a_replay_accepts_checkpoints_that_are_not_finite(tmp_path: Path) -> None:
    unstable: dict[str, Any] = {"train": {"lr": 1e10, "checkpoint_every": 1}, "model": {"norm": "batch"}}
    setup = tiny.setup(tmp_path, probe={"every": 1}, **unstable)
    train(setup, QUIET, StopRequest())
    assert setup.run.checkpoint_steps == [0, 1, 2]
    assert not all(tensor.isfinite().all() for tensor in load_tensors(setup.run.checkpoint_file(2)).values())
    probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.probe_file)["step"].values.tolist() == [0, 1, 2]
    assert not setup.run.replay_file.exists()
