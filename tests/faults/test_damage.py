"""Files that were cut short or altered are named, never used and never overwritten; so are runs that are busy."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lossviz.lock import exclusive
from lossviz.run import Run
from lossviz.signals import Stopped, StopRequest
from lossviz.training.command import train
from tests.faults import tiny
from tests.faults.conftest import LONG
from tests.faults.tiny import QUIET, Interrupter, lossviz


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def altered(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def emptied(_: bytes) -> bytes:
    return b""


@pytest.fixture(scope="module", name="finished")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    tiny.write(folder, **LONG)
    for command in ("train", "probe", "surface"):
        assert lossviz(command, folder / "tiny.yaml", "--out", folder / "runs").status == 0
    return folder


@pytest.fixture(scope="module", name="stopped")
def _stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, stop = tmp_path_factory.mktemp("stopped"), StopRequest()
    setup = tiny.setup(folder, **LONG)
    with pytest.raises(Stopped), setup.run.writing(setup.config):
        train(setup, QUIET, stop, Interrupter(stop, 21))
    return folder


def assert_refused(folder: Path, command: list[str], file: str, damage: Callable[[bytes], bytes]) -> None:
    """Exit status 1, a message that names the file and says what to do, and every file as it was."""
    path = folder / "runs/tiny/tiny" / file
    path.write_bytes(damage(path.read_bytes()))
    before = {name: content for name, content in tiny.tree(folder).items() if "run.json" not in name}
    answer = lossviz(*command)
    assert answer.status == 1
    assert answer.err.startswith(f"lossviz: runs/tiny/tiny/{file}: does not match its checksum")
    assert "--fresh" in answer.err
    assert "Traceback" not in answer.err
    after = tiny.tree(folder)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("damage", [cut, altered, emptied])
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("train", "train.nc"),
        ("probe", "probe.nc"),
        ("surface", "surface-main.nc"),
        ("surface", "checkpoints/step-00000040.safetensors"),
        ("plot", "train.nc"),
        ("plot", "probe.nc"),
        ("plot", "surface-main.nc"),
    ],
)
def test_of_a_finished_run(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    file: str,
    damage: Callable[[bytes], bytes],
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert_refused(tmp_path, [command, "runs/tiny" if command == "plot" else "tiny.yaml"], file, damage)


@pytest.mark.parametrize("damage", [cut, altered, emptied])
@pytest.mark.parametrize("file", ["train.nc", "checkpoints/resume.pt"])
def test_of_a_stopped_training(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: Callable[[bytes], bytes]
) -> None:
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert_refused(tmp_path, ["train", "tiny.yaml"], file, damage)
    assert lossviz("train", "tiny.yaml", "--fresh").status == 0


def test_of_a_checkpoint_in_the_way_of_a_probe(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Run(Path("runs/tiny/tiny")).probe_file.unlink()
    assert_refused(tmp_path, ["probe", "runs/tiny"], "checkpoints/step-00000010.safetensors", altered)
    assert_refused(tmp_path, ["probe", "tiny.yaml"], "checkpoints/step-00000008.safetensors", cut)


def test_a_damaged_record_is_only_a_record(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run = Run(Path("runs/tiny/tiny"))
    before = tiny.everything(run)
    run.record_file.write_text("{")
    answer = lossviz("train", "tiny.yaml")
    assert answer.status == 1
    assert "run.json: is damaged\n  delete it" in answer.err
    run.record_file.unlink()
    assert lossviz("train", "tiny.yaml").status == 0
    assert tiny.everything(run) == before


@pytest.mark.parametrize("command", ["train", "probe", "surface"])
def test_a_busy_run_is_left_alone(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run = Run(Path("runs/tiny/tiny"))
    with exclusive(run.folder):
        before = tiny.tree(tmp_path)
        answer = lossviz(command, "tiny.yaml", "--fresh")
        assert answer.status == 1
        assert "runs/tiny/tiny: is being written by process " in answer.err
        assert "wait for it, or end it" in answer.err
        assert tiny.tree(tmp_path) == before
    assert lossviz(command, "tiny.yaml").status == 0
