"""A run that may be read and not written: figures and plans are made of it, and the rest is refused in words."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lossviz.lock import LOCK
from lossviz.run import Run
from tests.faults import tiny
from tests.faults.launch import Lossviz

RUN = Run(Path("runs/tiny/tiny"))
WORDS = (
    "lossviz: runs/tiny/tiny: cannot be written: Permission denied\n"
    "  name another folder (with a CONFIG, and for figures: --out), or copy the run to a place that may be written\n"
)


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was trained and scanned."""
    folder = tmp_path_factory.mktemp("finished")
    tiny.write(folder)
    for command in (["train", "tiny.yaml"], ["surface", "tiny.yaml"]):
        assert Lossviz(command, folder).wait() == 0
    return folder


@pytest.fixture(name="sealed")
def _sealed(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with such a run that nobody may write."""
    folder = tmp_path
    monkeypatch.chdir(folder)
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    below = sorted((folder / "runs").rglob("*"))
    modes = {path: path.stat().st_mode for path in (folder / "runs", *below)}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    yield folder
    for path, mode in modes.items():
        if path.exists():
            path.chmod(mode)


def test_what_writes_into_it_is_refused(sealed: Path) -> None:
    before = tiny.tree(sealed / "runs")
    for command in (
        ["train", "tiny.yaml"],
        ["train", "tiny.yaml", "--fresh"],
        ["probe", "tiny.yaml"],
        ["probe", "runs/tiny"],
        ["surface", "tiny.yaml", "--set", "surface.name=other"],
        ["surface", "runs/tiny", "--fresh"],
    ):
        lossviz = Lossviz(command, sealed, obeys=True)
        assert lossviz.wait() == 1, lossviz.err
        assert lossviz.err == WORDS
    assert tiny.tree(sealed / "runs") == before


def test_its_plans_are_told(sealed: Path) -> None:
    for command in (["train", "tiny.yaml"], ["probe", "runs/tiny"], ["surface", "runs/tiny"]):
        assert Lossviz([*command, "--dry-run"], sealed, obeys=True).wait() == 0


def test_its_figures_go_elsewhere(sealed: Path) -> None:
    before = tiny.tree(sealed / "runs")
    lossviz = Lossviz(["plot", "runs/tiny"], sealed, obeys=True)
    assert lossviz.wait() == 1
    first, advice = lossviz.err.splitlines()
    assert first.startswith("lossviz: runs/tiny/figures/")
    assert first.endswith(": cannot be written: Permission denied")
    assert "name another folder (with a CONFIG, and for figures: --out)" in advice
    assert Lossviz(["plot", "runs/tiny", "--out", "figures"], sealed, obeys=True).wait() == 0
    assert tiny.tree(sealed / "runs") == before
    assert {path.suffix for path in (sealed / "figures").iterdir()} == {".png"}


def test_a_copy_of_it_goes_on(sealed: Path) -> None:
    """As the refusal advises; copies of read-only files need not be written to be replaced."""
    copy = Run(sealed / "copy/tiny/tiny")
    copy.folder.mkdir(parents=True)
    for name in tiny.tree(RUN.folder):
        target = copy.folder / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((RUN.folder / name).read_bytes())
        target.chmod(0o444)
    lossviz = Lossviz(["surface", "copy/tiny", "--set", "surface.name=other"], sealed, obeys=True)
    assert lossviz.wait() == 0, lossviz.err
    assert tiny.results(copy.surface_file("other")) == tiny.results(RUN.surface_file("main"))


def test_a_folder_for_runs_that_may_not_be_written(sealed: Path) -> None:
    lossviz = Lossviz(["train", "tiny.yaml", "--set", "name=other"], sealed, obeys=True)
    assert lossviz.wait() == 1
    assert lossviz.err == WORDS.replace("tiny/tiny", "other/other")


def test_a_folder_that_was_never_locked(sealed: Path) -> None:
    RUN.folder.chmod(0o755)
    (RUN.folder / LOCK).unlink()
    RUN.folder.chmod(0o555)
    lossviz = Lossviz(["probe", "runs/tiny"], sealed, obeys=True)
    assert lossviz.wait() == 1, lossviz.err
    assert lossviz.err == WORDS
