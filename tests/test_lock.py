"""One writer at a time: who holds a folder is told, and a dead holder holds nothing."""

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lossviz.errors import WorkError
from lossviz.lock import WRITER, exclusive
from tests.holding import holding

HOLD = """
import sys
from pathlib import Path
from lossviz.lock import exclusive
with exclusive(Path(sys.argv[-1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """Another process that holds the folder, of the command `train quickstart`."""
    return holding(HOLD, "train", "quickstart", str(folder))


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(WorkError) as caught, exclusive(tmp_path):
            raise AssertionError("must not get here")
        first, advice = str(caught.value).splitlines()
        assert first.startswith(f"{tmp_path}: is being written by process {process.pid} on ")
        assert first.endswith(f": lossviz train quickstart {tmp_path}")
        assert advice == "  wait for it, or end it"
        process.communicate("go on\n")
        with exclusive(tmp_path):
            pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert str(process.pid) in (tmp_path / WRITER).read_text()
        with exclusive(tmp_path):
            assert str(process.pid) not in (tmp_path / WRITER).read_text()


def test_the_same_process_twice(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        for _ in range(2):
            with pytest.raises(WorkError, match=f"process {os.getpid()} "), exclusive(tmp_path):
                raise AssertionError("must not get here")
    with exclusive(tmp_path):
        pass


def test_it_is_given_back_after_an_error_and_names_nobody(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exclusive(tmp_path):
        raise KeyError
    assert not (tmp_path / WRITER).exists()
    with exclusive(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "\xff"])
def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path, content: str) -> None:
    with holder(tmp_path):
        (tmp_path / WRITER).write_bytes(content.encode("latin-1"))
        with pytest.raises(WorkError, match="is being written by another process\n"), exclusive(tmp_path):
            raise AssertionError("must not get here")


def test_folders_do_not_hinder_each_other(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a"), exclusive(tmp_path / "b" / "c"):
        assert (tmp_path / "b" / "c").is_dir()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for below in ("file", "file/x"):
        with pytest.raises(WorkError, match=f"{below}: cannot be written: "), exclusive(tmp_path / below):
            raise AssertionError("must not get here")


FULL_DISK = """
import resource, sys
from pathlib import Path
from lossviz.errors import WorkError
from lossviz.lock import exclusive
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    with exclusive(Path(sys.argv[1])):
        print("must not get here")
except WorkError as error:
    print(error)
"""


def test_a_full_disk(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path}: cannot be written: File too large\n")
    with exclusive(tmp_path):
        pass
