"""One writer at a time in a run folder, also where the kernel's locks do not reach."""

import errno
import fcntl
import json
import os
import platform
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedIOBase
from pathlib import Path

from lossviz.errors import Refusal, WorkError
from lossviz.files import PARTIAL, advice_for, shown

LOCK = ".lock"
WRITER = ".writer"
# What flock says on file systems that have no locks: NFS without its lock service or of a file that may only be read,
# Lustre without -o flock, some FUSE.
WITHOUT_LOCKS = {errno.ENOLCK, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP}
# A busy interpreter or a slow file server may miss some signs of life in a row, but not six.
SECONDS_BETWEEN_SIGNS = 5.0
SECONDS_OF_SILENCE = 30.0


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Be the only writer in a folder.

    Two things keep others out. The kernel's lock (flock on `.lock`) ends with its process however that dies, but some
    shared folders have no locks, or locks that hold for one machine only. Therefore the writer also creates `.writer`,
    which one process alone can do, on any file system. It names the writer, and while that lives, its time of change
    moves every 5 seconds. Who finds a `.writer` of another machine watches it for 30 seconds: the writer is dead if
    nothing moves. No clocks are compared, and no process of another machine is looked up.

    A writer that slept for longer (SIGSTOP, a closed laptop) counts as dead to other machines; it hears of it here.

    Raises:
        WorkError: another living process writes here or has taken the folder over, or the folder cannot be written.
    """
    path, sign = folder / WRITER, _sign()
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            locked = _lock(held.enter_context(_opened(folder / LOCK)))
            _claim(path, sign, locked)
        except BlockingIOError:
            problem = f"is being written by {_writer(path)}"
            raise WorkError(Refusal(shown(folder), problem, advice="wait for it, or end it")) from None
        except OSError as error:
            problem = f"cannot be written: {error.strerror}"
            raise WorkError(Refusal(shown(folder), problem, advice=advice_for(error))) from error
        try:
            with _signs_of_life(path, sign):
                yield
        finally:
            taken = _content(path) not in (sign, b"")
            with suppress(OSError):
                _remove(path, sign)
        if taken:
            problem = f"was taken over by {_writer(path)}, because this process slept for {SECONDS_OF_SILENCE:.0f} s"
            advice = "both wrote here; the files are whole: when that process has ended, give its command again"
            raise WorkError(Refusal(shown(folder), problem, advice=advice))


def _sign() -> bytes:
    """Who this process is; no two are alike."""
    me = {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["lossviz", *sys.argv[1:]]),
        "machine": _machine(),
        "token": secrets.token_hex(8),
    }
    return json.dumps(me).encode()


def _machine() -> str:
    """This machine since it was started: several may have one name."""
    try:
        return f"{platform.node()} {Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()}"
    except OSError:
        return platform.node()


def _opened(path: Path) -> BufferedIOBase:
    """The file to lock, also of another user or copied from a read-only folder: only NFS must be able to write it."""
    try:
        return path.open("ab")
    except PermissionError:
        if not path.exists():
            raise
        return path.open("rb")


def _lock(file: BufferedIOBase) -> bool:
    """Keep out the processes of this machine at least; false where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        return False
    return True


def _claim(path: Path, sign: bytes, locked: bool) -> None:
    """Create the file that names the writer, after the dead one before; BlockingIOError if that lives."""
    while True:
        try:
            _create(path, sign)
        except FileExistsError:
            before = _content(path)
            # Of this machine the kernel's lock says that nobody is left.
            if not (locked and _facts(before).get("machine") == _machine()):
                _watch(path)
            _remove(path, before)
        else:
            return


def _create(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, or leave none."""
    file = path.open("xb", buffering=0)  # unbuffered, so that a full disk is met once and not again on closing
    try:
        with file:
            file.write(content)
    except OSError:
        path.unlink()
        raise


def _watch(path: Path) -> None:
    """Wait until it is clear that nobody gives signs of life."""
    before, end = _changed(path), time.monotonic() + SECONDS_OF_SILENCE
    while before and time.monotonic() < end:
        time.sleep(min(SECONDS_BETWEEN_SIGNS, SECONDS_OF_SILENCE) / 2)
        now = _changed(path)
        if now and now != before:
            raise BlockingIOError
        before = now


def _changed(path: Path) -> int:
    """When the file was changed, by the clock of its server; 0 if it is gone."""
    try:
        with path.open("rb") as file:  # opening asks the server: what NFS remembers may be a minute old
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0


@contextmanager
def _signs_of_life(path: Path, sign: bytes) -> Iterator[None]:
    """Move the file's time of change again and again, as long as it is this process's."""
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(SECONDS_BETWEEN_SIGNS):
            with suppress(OSError):
                if _content(path) == sign:
                    os.utime(path)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _remove(path: Path, content: bytes) -> None:
    """Delete the file if it still has this content: another process may have been faster."""
    aside = path.with_name(f"{WRITER}.{secrets.token_hex(4)}{PARTIAL}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if aside.read_bytes() != content:
            aside.rename(path)
            raise BlockingIOError
        aside.unlink()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _facts(content: bytes) -> dict[str, object]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _writer(path: Path) -> str:
    try:
        return "process {pid} on {host} since {since}: {command}".format(**_facts(_content(path)))
    except (OSError, KeyError):
        return "another process"
