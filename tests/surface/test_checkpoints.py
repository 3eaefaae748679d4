"""Which file a configuration means, and how far its network is from another one."""

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lossviz.config import read
from lossviz.engine.checkpoint import save_tensors
from lossviz.errors import RequestError, WorkError
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.surface.checkpoints import Checkpoint, find_checkpoint, run_checkpoints
from lossviz.surface.plan import ScanPlan
from tests.surface.networks import network, save

TRAINING = "train quickstart"


def setup_of(out: Path, *settings: str) -> Setup:
    config = read("quickstart", ("model.width=0.0625", *settings), ("batchnorm",))[0]
    return prepare(config, run_of(config, out), "cpu")


@pytest.fixture
def trained(tmp_path: Path) -> Setup:
    setup = setup_of(tmp_path)
    for step in (0, 5, 100):
        save_tensors(setup.run.checkpoint_file(step), setup.model().state_dict())
    return setup


@pytest.mark.parametrize(("wanted", "step"), [("last", 100), (5, 5), (0, 0)])
def test_of_the_run(trained: Setup, wanted: str | int, step: int) -> None:
    found = find_checkpoint(trained.run, wanted, "surface.checkpoint", TRAINING)
    assert found == Checkpoint(f"step {step}", trained.run.checkpoint_file(step), step)


def test_all_in_order_of_step(trained: Setup) -> None:
    assert [each.name for each in run_checkpoints(trained.run)] == ["step 0", "step 5", "step 100"]


def test_a_path(trained: Setup, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save({"state_dict": trained.model().state_dict()}, path)
    found = find_checkpoint(trained.run, str(path), "key", TRAINING)
    assert found == Checkpoint(str(path), path, None)
    assert found.load(trained.model()).keys() == trained.model().state_dict().keys()


def test_what_surface_checkpoint_says(tmp_path: Path, trained: Setup) -> None:
    assert ScanPlan(trained).checkpoint.step == 100
    assert ScanPlan(setup_of(tmp_path, "surface.checkpoint=5")).checkpoint.step == 5


def test_one_file_by_two_names(trained: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    file = trained.run.checkpoint_file(5)
    monkeypatch.chdir(file.parent)
    five, other = (find_checkpoint(trained.run, each, "key", TRAINING) for each in (5, 100))
    by_path = find_checkpoint(trained.run, os.fspath(Path("..") / "checkpoints" / file.name), "key", TRAINING)
    assert five.same_file(by_path)
    assert not other.same_file(by_path)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (7, "surface.key = 7.*no checkpoint of that step\n.*last, 0, 5, 100"),
        ("no.pt", "surface.key = no.pt: .* no such"),
    ],
)
def test_missing(trained: Setup, wanted: str | int, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        find_checkpoint(trained.run, wanted, "surface.key", TRAINING)


def test_without_training(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="lossviz train CONFIG"):
        ScanPlan(setup_of(tmp_path))


def test_a_damaged_checkpoint_of_the_run_is_named(trained: Setup) -> None:
    """Also one that has lost its seal, which is fine in somebody else's file only."""
    file = trained.run.checkpoint_file(5)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    unsealed = safetensors.torch.save({name: t.contiguous() for name, t in trained.model().state_dict().items()})
    for damaged in (bytes(content), unsealed):
        file.write_bytes(damaged)
        with pytest.raises(WorkError, match="step-00000005"):
            find_checkpoint(trained.run, 5, "key", TRAINING).load(trained.model())


def test_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "other.safetensors", network(width=5).state_dict())
    with pytest.raises(RequestError, match=r"other\.safetensors: belongs to another network: 0\.weight"):
        checkpoint.load(network())


def test_a_network_in_memory() -> None:
    state = network(1).state_dict()
    one, same, other = (Checkpoint("b", Path("b"), state=each) for each in (state, state, network(1).state_dict()))
    assert one.load(network()).keys() == state.keys()
    assert one.same_file(same)
    assert not one.same_file(other)
    assert not one.same_file(Checkpoint("b", Path("b")))
    with pytest.raises(RequestError, match=r"b: belongs to another network: 0\.weight"):
        Checkpoint("b", Path("b"), state=network(width=5).state_dict()).load(network())
