"""Which file a configuration means, and how far its network is from another one."""

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from lossviz.config import read
from lossviz.engine.checkpoint import save_tensors
from lossviz.engine.setup import Setup, prepare
from lossviz.errors import RequestError, WorkError
from lossviz.run import run_of
from lossviz.surface.checkpoints import Checkpoint, difference, find_checkpoint, run_checkpoints, scanned_checkpoint
from lossviz.surface.moving import moving
from tests.surface.networks import network, save


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
    found = find_checkpoint(trained, wanted, "surface.checkpoint")
    assert found == Checkpoint(f"step {step}", trained.run.checkpoint_file(step), step)


def test_all_in_order_of_step(trained: Setup) -> None:
    assert [each.name for each in run_checkpoints(trained.run)] == ["step 0", "step 5", "step 100"]


def test_a_path(trained: Setup, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save({"state_dict": trained.model().state_dict()}, path)
    found = find_checkpoint(trained, str(path), "key")
    assert found == Checkpoint(str(path), path, None)
    assert found.load(trained.model()).keys() == trained.model().state_dict().keys()


def test_what_surface_checkpoint_says(tmp_path: Path, trained: Setup) -> None:
    assert scanned_checkpoint(trained).step == 100
    assert scanned_checkpoint(setup_of(tmp_path, "surface.checkpoint=5")).step == 5


def test_one_file_by_two_names(trained: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    file = trained.run.checkpoint_file(5)
    monkeypatch.chdir(file.parent)
    five, other = (find_checkpoint(trained, each, "key") for each in (5, 100))
    by_path = find_checkpoint(trained, os.fspath(Path("..") / "checkpoints" / file.name), "key")
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
        find_checkpoint(trained, wanted, "surface.key")


def test_without_training(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="lossviz train quickstart"):
        scanned_checkpoint(setup_of(tmp_path))


def test_a_damaged_checkpoint_of_the_run_is_named(trained: Setup) -> None:
    """Also one that has lost its seal, which is fine in somebody else's file only."""
    file = trained.run.checkpoint_file(5)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    unsealed = safetensors.torch.save({name: t.contiguous() for name, t in trained.model().state_dict().items()})
    for damaged in (bytes(content), unsealed):
        file.write_bytes(damaged)
        with pytest.raises(WorkError, match="step-00000005"):
            find_checkpoint(trained, 5, "key").load(trained.model())


def test_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "other.safetensors", network(width=5).state_dict())
    with pytest.raises(RequestError, match=r"other\.safetensors: belongs to another network: 0\.weight"):
        checkpoint.load(network())


def test_difference_is_exact_in_float64(tmp_path: Path) -> None:
    """Of what a float32 network holds, also where the file has more digits."""
    model, other = network(0, torch.float32), network(1)
    coordinates, checkpoint = moving(model, True), save(tmp_path / "other.safetensors", other.state_dict())
    moved = {each.name for each in coordinates} - {"0.bias"}
    exact = difference(model, coordinates, moved, checkpoint, torch.float64)
    for each, part in zip(coordinates, exact, strict=True):
        expected = other.state_dict()[each.name].float().double() - each.tensor.double()
        np.testing.assert_array_equal(part.numpy(), (expected * (each.name in moved)).detach().numpy())
        assert part.stride() == each.tensor.stride()
