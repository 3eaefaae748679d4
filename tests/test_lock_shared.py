"""One writer at a time in folders that several machines share, whose locks do not work or hold for one machine only."""

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lossviz import lock
from lossviz.errors import WorkError
from lossviz.files import PARTIAL
from lossviz.lock import WRITER, exclusive
from tests.holding import holding

HOUR = 3600
# Its flock holds for nobody else.
HOLD = """
import fcntl, sys
from pathlib import Path
from lossviz import lock
lock.SECONDS_BETWEEN_SIGNS = 0.05
if sys.argv[2] == "elsewhere":
    lock._machine = lambda: "elsewhere"
fcntl.flock = lambda *_: None
with lock.exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_SIGNS", 0.05)
    monkeypatch.setattr(lock, "SECONDS_OF_SILENCE", 1.0)
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_LOOKS", 0.05)


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file system whose flock says this; 0: it succeeds for everybody."""

    def flock(*_: object) -> None:
        if number:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.fixture(params=[0, errno.ENOLCK, errno.EOPNOTSUPP], ids=["silent", "ENOLCK", "EOPNOTSUPP"])
def _no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, request.param)


def holder(folder: Path, where: str = "elsewhere") -> AbstractContextManager[subprocess.Popen[str]]:
    """A process that holds the folder, of another machine or of this one."""
    return holding(HOLD, str(folder), where)


def dead_writer(folder: Path, pid: int, machine: str = "node7 1") -> Path:
    """What a killed process of another machine leaves."""
    path = folder / WRITER
    facts = {"pid": pid, "host": "node7", "since": "now", "command": "lossviz train", "machine": machine}
    path.write_text(json.dumps(facts))
    return path


def refused(folder: Path) -> str:
    with pytest.raises(WorkError) as caught, exclusive(folder):
        raise AssertionError("must not get here")
    return str(caught.value)


@pytest.mark.usefixtures("_no_locks")
def test_a_living_writer_of_another_machine_is_named(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        first, advice = refused(tmp_path).splitlines()
        assert first.startswith(f"{tmp_path}: is being written by process {process.pid} on ")
        assert advice == "  wait for it, or end it"
        process.communicate("go on\n")
        with exclusive(tmp_path):
            pass


def test_a_living_writer_of_this_machine_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch, errno.ENOLCK)
    with holder(tmp_path, "here") as process:
        assert f"process {process.pid} on " in refused(tmp_path)


DEAD = ["a number in use here, an hour behind", "a number that nobody has", "a number in use here, an hour ahead"]


@pytest.mark.usefixtures("_no_locks")
@pytest.mark.parametrize(("pid", "skew"), [(os.getpid(), -HOUR), (2**22 - 1, 0), (os.getpid(), HOUR)], ids=DEAD)
def test_a_dead_writer_of_another_machine_holds_nothing(tmp_path: Path, pid: int, skew: float) -> None:
    """Whatever its clock said, and whether this machine has a process of that number or not."""
    path = dead_writer(tmp_path, pid)
    os.utime(path, (time.time() + skew, time.time() + skew))
    with exclusive(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_who_waits_is_told_once_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead_writer(tmp_path, 7)
    with exclusive(tmp_path):
        pass
    said = f"lossviz: {tmp_path} seems to be written by process 7 on node7 since now: lossviz train"
    assert capsys.readouterr().err == f"{said}; watching for up to 1 s whether it lives\n"
    with exclusive(tmp_path):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_dead_writer_that_cannot_be_read_holds_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / WRITER).write_bytes(content)
    with exclusive(tmp_path):
        pass
    assert not (tmp_path / WRITER).exists()


@pytest.mark.usefixtures("_no_locks")
def test_a_successor_that_died_on_its_way_holds_nothing(tmp_path: Path) -> None:
    path = dead_writer(tmp_path, 1)
    heir = tmp_path / f"{WRITER}.{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}{PARTIAL}"
    heir.write_text("half")
    with exclusive(tmp_path):
        assert not heir.exists()


@pytest.mark.parametrize("machine", ["here", "node7 1"])
def test_a_dead_writer_is_watched_unless_it_was_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    """Also where locks work: nobody can tell whether they hold for other machines."""
    watched: list[Path] = []
    monkeypatch.setattr(lock, "_watch", watched.append)
    monkeypatch.setattr(lock, "_machine", lambda: "here")
    path = dead_writer(tmp_path, os.getpid(), machine)
    with exclusive(tmp_path):
        assert watched == ([path] if machine == "node7 1" else [])


@pytest.mark.parametrize("skew", [-HOUR, HOUR])
def test_signs_of_life_by_a_clock_that_is_an_hour_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    touch: Callable[..., None] = os.utime
    monkeypatch.setattr(os, "utime", lambda path: touch(path, (time.time() + skew, time.time() + skew)))
    without_locks(monkeypatch, 0)
    with exclusive(tmp_path):
        monkeypatch.setattr(lock, "_machine", lambda: "another")
        assert f"process {os.getpid()} on " in refused(tmp_path)


def test_who_slept_hears_that_the_folder_was_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.ENOLCK)
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_SIGNS", 60.0)  # asleep
    with pytest.raises(WorkError, match=f"was taken over by process {os.getpid()} on ") as caught, exclusive(tmp_path):
        monkeypatch.setattr(lock, "SECONDS_BETWEEN_SIGNS", 0.05)
        second = exclusive(tmp_path)
        second.__enter__()
        taken = (tmp_path / WRITER).read_bytes()
    assert "the files are whole" in str(caught.value)
    assert (tmp_path / WRITER).read_bytes() == taken
    second.__exit__(None, None, None)
    assert not (tmp_path / WRITER).exists()


@pytest.mark.usefixtures("_no_locks")
@pytest.mark.parametrize("dead", [True, False])
def test_of_many_that_come_at_once_one_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead: bool) -> None:
    monkeypatch.setattr(lock, "_machine", lambda: threading.current_thread().name)
    if dead:
        dead_writer(tmp_path, 1)
    inside, most, told = [0], [0], []
    start = threading.Barrier(8)

    def come() -> None:
        start.wait()
        try:
            with exclusive(tmp_path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(1)
                inside[0] -= 1
        except WorkError as error:
            told.append(str(error))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(told) == 7
    assert all("is being written by" in each for each in told)


def test_another_trouble_with_the_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.EIO)
    assert refused(tmp_path).startswith(f"{tmp_path}: cannot be written: Input/output error\n")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fail)
    first, advice = refused(tmp_path).splitlines()
    assert first == f"{tmp_path}: cannot be written: {os.strerror(number)}"
    assert "--out), or copy the run to a place that may be written" in advice
