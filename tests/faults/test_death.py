"""Rule 4 with kill -9: at any moment every file is whole, and the same command again finishes the work."""

import signal
from pathlib import Path

import pytest
import torch

from chaos.pieces import pieces, wrong
from lossviz.files import PARTIAL, read_sealed
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.setup import Setup
from tests.faults import tiny
from tests.faults.launch import Lossviz

RUN = Run(Path("runs/tiny/tiny"))
COMMANDS = (["train", "tiny.yaml"], ["probe", "tiny.yaml"], ["surface", "runs/tiny"])


def assert_whole(run: Run, whole: Setup) -> None:
    """Every file there is can be read, and what it holds is a part of the undisturbed run."""
    RUN.record()
    assert wrong(pieces(run.folder), pieces(whole.run.folder)) == []
    for file in (run.resume_file, run.replay_file):
        if file.exists():
            read_sealed(file, "")
            assert torch.load(file, weights_only=True)["step"] <= 40


def test_death_while_writing(folder: Path, undisturbed: Setup) -> None:
    """kill -9 between the creation of a temporary, its fsync, the rename and the fsync of the folder."""
    for command in COMMANDS:
        deaths = 0
        for call in (1, 2, 4, 7, 11, 16, 1000):
            status = Lossviz(command, folder, dies_at=call).wait()
            assert status in (0, -signal.SIGKILL)
            deaths += status != 0
            assert_whole(RUN, undisturbed)
        assert status == 0
        assert deaths >= 3, "nothing was disturbed"
    assert tiny.everything(RUN) == tiny.everything(undisturbed.run)
    assert not list(folder.rglob(f"*{PARTIAL}"))
    assert not RUN.replay_file.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_finished(folder: Path, undisturbed: Setup, number: signal.Signals) -> None:
    """In training, replay and scan: exit 130 or 143, whole files, one line, and the rest on the next call."""
    fine = ["--set", "surface.x=[-1, 1, 150]", "--set", "surface.y=[-1, 1, 150]", "--set", "surface.name=fine"]
    checkpoints = RUN.folder / "checkpoints"
    for command, begun in (
        (["train", "tiny.yaml"], RUN.checkpoint_file(0)),
        (["probe", "tiny.yaml"], RUN.probe_file),
        (["surface", "runs/tiny", *fine], RUN.surface_file("fine")),
    ):
        lossviz = Lossviz(command, folder)
        lossviz.wait_until(begun.exists)
        lossviz.send(number)
        status = lossviz.wait()
        stage = RUN.record()["surface-fine" if command[0] == "surface" else command[0]]["status"]
        if status:
            assert status == 128 + number
            assert (
                lossviz.err
                == f"lossviz: stopped by {number.name}; everything finished is kept, the same command resumes\n"
            )
            assert stage == "interrupted"
        assert_whole(RUN, undisturbed) if command[0] != "surface" else load_results(RUN.surface_file("fine"))
        if command[0] != "surface":
            assert Lossviz(command, folder).wait() == 0
    assert status == 128 + number, "22,500 points take longer than that"
    assert list(checkpoints.glob("step-*"))
    for name in ("surface-fine.nc", "directions-fine.safetensors"):
        (RUN.folder / name).unlink()
    assert Lossviz(["surface", "tiny.yaml"], folder).wait() == 0
    assert tiny.everything(RUN) == tiny.everything(undisturbed.run)


def test_the_second_ctrl_c_ends_at_once(folder: Path) -> None:
    assert Lossviz(["train", "tiny.yaml", "--set", "train.steps=2"], folder).wait() == 0
    slow = ["--set", "surface.data={split: test}", "--set", "surface.batch_size=1"]
    lossviz = Lossviz(["surface", "runs/tiny", *slow], folder)
    lossviz.wait_until(RUN.surface_file("main").exists)
    lossviz.send(signal.SIGINT)
    lossviz.send(signal.SIGINT)
    assert lossviz.wait() == 130
    assert "Traceback" not in lossviz.err
    assert RUN.record()["surface-main"]["status"] == "interrupted"
