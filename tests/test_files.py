"""A file is whole or it is not there: full disks, kill -9, two writers, and files that were altered."""

import io
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from lossviz.errors import RequestError, WorkError
from lossviz.files import (
    BLANK_SEAL,
    MARK,
    atomic_write,
    check_owner,
    check_text,
    read,
    read_sealed,
    remove_partials,
    seal,
    sealed_text,
    shown,
)

OLD, NEW = b"old content", b"new content"
SIZE = 2_000_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_and_overwrite_and_make_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (OLD, NEW, b""):
        atomic_write(path, content)
        assert path.read_bytes() == content
        assert names(path.parent) == ["file"]


@pytest.mark.parametrize("stage", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    path = tmp_path / "file"
    atomic_write(path, OLD)
    with monkeypatch.context() as patched:
        patched.setattr(*{"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (os, "replace")}[stage], fail)
        with pytest.raises(WorkError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
            atomic_write(path, NEW)
    if isinstance(caught.value, WorkError):
        assert caught.value.exit_status == 1
        assert str(caught.value).startswith(f"{path}: cannot be written: No space left on device\n")
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]
    atomic_write(path, NEW)
    assert path.read_bytes() == NEW


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file", []
    real_sync, real_replace = os.fsync, os.replace

    def sync(number: int) -> None:
        seen.append("folder" if os.path.samestat(os.fstat(number), tmp_path.stat()) else "content")
        real_sync(number)

    def replace(source: str, target: str) -> None:
        assert Path(source).read_bytes() == NEW
        assert Path(source).parent == Path(target).parent
        seen.append("replace")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    atomic_write(path, NEW)
    assert seen == ["content", "replace", "folder"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from lossviz.errors import WorkError
from lossviz.files import atomic_write
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    atomic_write(Path(sys.argv[1]), bytes(100_000))
except WorkError as error:
    print(error)
"""


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, OLD)
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: cannot be written: File too large\n")
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(("below", "reason"), [("file/x", "File exists"), ("file/x/y", "Not a directory")])
def test_a_folder_that_cannot_be_written(tmp_path: Path, below: str, reason: str) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(WorkError, match=f"file/x.*: cannot be written: {reason}\n"):
        atomic_write(tmp_path / below, NEW)
    assert (tmp_path / "file").read_bytes() == OLD


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(WorkError, match="cannot be written"):
        atomic_write(tmp_path / "x", NEW)
    assert names(tmp_path) == ["x"]


def write_many(path: str, letter: bytes) -> None:
    for _ in range(30):
        atomic_write(Path(path), letter * SIZE)


def test_two_writers_leave_one_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(path), letter)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            content = path.read_bytes()
            assert content in (b"a" * SIZE, b"b" * SIZE)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert names(tmp_path) == ["file"]


WRITE_FOR_EVER = f"""
import itertools, sys
from pathlib import Path
from lossviz.files import atomic_write
for number in itertools.count():
    atomic_write(Path(sys.argv[1]), b"ab"[number % 2 :][:1] * {SIZE})
    print(flush=True)
"""


def test_killed_in_the_midst(tmp_path: Path) -> None:
    path, delays = tmp_path / "file", random.Random(0)
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delays.uniform(0, 0.01))
            writer.send_signal(signal.SIGKILL)
        assert path.read_bytes() in (b"a" * SIZE, b"b" * SIZE)
        remove_partials(tmp_path)
        assert names(tmp_path) == ["file"]


def test_only_partials_are_removed(tmp_path: Path) -> None:
    keep = [".lock", "partial", "run.partial", "deep/.hidden", "deep/step.safetensors"]
    for name in [*keep, ".run.json.12-ab.partial", "deep/.step.safetensors.1-2.partial"]:
        atomic_write(tmp_path / name, OLD)
    remove_partials(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(keep)


def tensors() -> bytes:
    arrays = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    return save(arrays, metadata={"step": "7", "seal": BLANK_SEAL.decode()})


@pytest.mark.parametrize("content", [b"", b"short", b"\n\n", bytes(range(256)), tensors()])
def test_altered_in_any_byte_or_cut_anywhere(tmp_path: Path, content: bytes) -> None:
    path, whole = tmp_path / "file", seal(content)
    path.write_bytes(whole)
    assert read_sealed(path, "advice") == whole
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    cut = [whole[:at] for at in range(len(whole))]
    more = [whole + b"\0", whole + b"\n", b"\0" + whole, whole + whole, whole + whole[-79:]]
    for altered in [*flipped, *cut, *more]:
        path.write_bytes(altered)
        with pytest.raises(WorkError) as caught:
            read_sealed(path, "advice")
        assert str(caught.value) == (f"{path}: does not match its checksum: it was cut short or altered\n  advice")


@given(st.lists(st.binary(max_size=9) | st.sampled_from([MARK, BLANK_SEAL]), max_size=4).map(b"".join))
def test_whatever_is_sealed_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "sealed"
    path.write_bytes(seal(content))
    assert read_sealed(path, "") == seal(content)


def test_a_seal_in_the_metadata_keeps_safetensors_readable() -> None:
    whole = seal(tensors())
    assert len(whole) == len(tensors())
    assert BLANK_SEAL not in whole
    np.testing.assert_array_equal(load(whole)["weight"], np.arange(6, dtype=np.float32).reshape(2, 3))


def test_a_seal_at_the_end_keeps_zip_readable() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data", NEW)
    with zipfile.ZipFile(io.BytesIO(seal(buffer.getvalue()))) as archive:
        assert archive.testzip() is None
        assert archive.read("data") == NEW


def test_a_sealed_text_is_told_in_any_byte_and_cut_but_not_in_its_mark() -> None:
    content, file = sealed_text("lr: 0.05\nsteps: 9\n"), Path("config.yaml")
    check_text(file, content)
    for at in range(content.index(b":") + 1, len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        for damaged in (changed, content[:at]):
            with pytest.raises(WorkError, match=r"config\.yaml: does not match its checksum"):
                check_text(file, damaged)
    check_text(file, b"lr: 0.04\n")  # a person's own


def test_a_file_in_the_place_of_another_is_named() -> None:
    check_owner(Path("a.nc"), "tiny/a", ("new/a", "tiny/a"))
    check_owner(Path("a.nc"), "", ("tiny/a",))
    with pytest.raises(WorkError, match=r"a\.nc: is of tiny/b, and should be of tiny/a"):
        check_owner(Path("a.nc"), "tiny/b", ("tiny/a",))


def test_a_missing_file_is_a_wrong_request(tmp_path: Path) -> None:
    message = r"x: cannot be read: No such file or directory$"
    with pytest.raises(RequestError, match=message):
        read(tmp_path / "x")
    with pytest.raises(RequestError, match=message):
        read_sealed(tmp_path / "x", "")


def test_paths_are_told_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shown(tmp_path / "here" / "a" / "b") == "a/b"
    assert shown(Path("a/b")) == "a/b"
    assert shown(tmp_path / "c") == str(tmp_path / "c")
    assert shown(Path("../c")) == "../c"
