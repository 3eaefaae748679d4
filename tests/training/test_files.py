"""What a replay compares: the checkpoints that the training wrote."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lossviz.engine.checkpoint import load_tensors, save_tensors
from lossviz.errors import WorkError
from lossviz.probe.command import probe_training
from lossviz.results import load_results
from lossviz.signals import StopRequest
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


def test_nothing_of_a_replay_that_departs_is_left(tmp_path: Path) -> None:
    """What it measured after the last checkpoint that agreed, and the state from which it would go on."""
    setup = tiny.setup(tmp_path, probe={"every": 1})
    train(setup, QUIET, StopRequest())
    file = setup.run.checkpoint_file(8)
    right = file.read_bytes()
    save_tensors(file, {name: tensor + 1 for name, tensor in load_tensors(file).items()})
    with pytest.raises(WorkError, match="departs from the training before step 8"):
        probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.probe_file)["step"].values.tolist() == [0, 1, 2, 3, 4]
    assert not setup.run.replay_file.exists()
    file.write_bytes(right)
    probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.probe_file)["step"].values.tolist() == list(range(13))


def test_a_replay_accepts_checkpoints_that_are_not_finite(tmp_path: Path) -> None:
    unstable: dict[str, Any] = {"train": {"lr": 1e10, "checkpoint_every": 1}, "model": {"norm": "batch"}}
    setup = tiny.setup(tmp_path, probe={"every": 1}, **unstable)
    train(setup, QUIET, StopRequest())
    assert setup.run.checkpoint_steps == [0, 1, 2]
    assert not all(tensor.isfinite().all() for tensor in load_tensors(setup.run.checkpoint_file(2)).values())
    probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.probe_file)["step"].values.tolist() == [0, 1, 2]
    assert not setup.run.replay_file.exists()
