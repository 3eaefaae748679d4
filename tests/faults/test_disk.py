"""A disk that is full or read-only: one clear message, nothing damaged, and the same numbers once there is room."""

from pathlib import Path

import pytest

from lossviz.files import PARTIAL
from lossviz.run import Run
from lossviz.setup import Setup
from tests.faults import tiny
from tests.faults.launch import Lossviz

RUN = Run(Path("runs/tiny/tiny"))


def assert_said(lossviz: Lossviz, file: str) -> None:
    """One readable block on standard error, and exit status 1."""
    assert lossviz.wait() == 1
    assert lossviz.err.startswith("lossviz: runs/tiny/tiny")
    assert lossviz.err.count("cannot be written: File too large") == 1
    assert f"{file}: cannot be written" in lossviz.err
    assert len(lossviz.err.splitlines()) == 2


@pytest.mark.parametrize(("limit", "file"), [(9000, ".safetensors"), (46000, "resume.pt")])
def test_a_full_disk_in_training(folder: Path, undisturbed: Setup, limit: int, file: str) -> None:
    """Half of the training is there, and then the disk is full."""
    assert Lossviz(["train", "tiny.yaml"], folder, dies_at=60).wait() < 0
    before, checkpoints = tiny.everything(RUN), tiny.checkpoints(RUN)
    files = [path.stat().st_size for path in RUN.folder.rglob("*.*") if path.suffix in (".safetensors", ".pt")]
    assert min(files) > 9000
    assert_said(Lossviz(["train", "tiny.yaml"], folder, largest_file=limit), file)
    assert not list(folder.rglob(f"*{PARTIAL}"))
    assert checkpoints.items() <= tiny.checkpoints(RUN).items()
    assert tiny.everything(RUN)["resume"] == before["resume"]
    for command in (["train", "tiny.yaml"], ["probe", "tiny.yaml"], ["surface", "runs/tiny"]):
        assert Lossviz(command, folder).wait() == 0
    assert tiny.everything(RUN) == tiny.everything(undisturbed.run)


def test_a_disk_that_is_full_from_the_beginning(folder: Path) -> None:
    assert_said(Lossviz(["train", "tiny.yaml"], folder, largest_file=600), "config.yaml")
    assert {path.name for path in RUN.folder.iterdir()} == {".lock"}


@pytest.mark.parametrize(("command", "file"), [("probe", "probe.nc"), ("surface", "directions-main.safetensors")])
def test_a_full_disk_in_a_measurement(folder: Path, undisturbed: Setup, command: str, file: str) -> None:
    assert Lossviz(["train", "tiny.yaml"], folder).wait() == 0
    before = tiny.everything(RUN)
    assert_said(Lossviz([command, "runs/tiny"], folder, largest_file=9000), file)
    assert tiny.everything(RUN) == before
    assert Lossviz([command, "runs/tiny"], folder).wait() == 0
    if command == "surface":
        assert tiny.results(RUN.surface_file("main")) == tiny.results(undisturbed.run.surface_file("main"))


def test_an_output_folder_that_cannot_be_is_refused(folder: Path) -> None:
    (folder / "file").write_text("mine")
    for out, reason in (("file", "Not a directory"), ("/proc/nowhere", "No such file or directory")):
        lossviz = Lossviz(["train", "tiny.yaml", "--out", out], folder)
        assert lossviz.wait() == 1
        assert lossviz.err == (
            f"lossviz: {out}/tiny/tiny: cannot be written: {reason}\n"
            "  make room or name another folder (with a CONFIG, and for figures: --out)\n"
        )
    assert (folder / "file").read_text() == "mine"


def test_a_name_that_is_no_text_is_a_name(folder: Path) -> None:
    """Bytes that are not UTF-8 are allowed in names of files."""
    lossviz = Lossviz(["train", "tiny.yaml", "--out", "b\udcffd"], folder)
    assert lossviz.wait() == 0
    assert "b\\udcffd/tiny/tiny: trained" in lossviz.out
    assert Run(folder / "b\udcffd/tiny/tiny").train_file.exists()
