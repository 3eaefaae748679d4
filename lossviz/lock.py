"""One writer at a time in a run folder, also where the kernel's locks do not reach."""

import errno
import fcntl
import hashlib
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
SECONDS_BETWEEN_LOOKS = 1.0


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
            taken = _content(path) not in (sign, None)
            if not taken:
                with suppress(OSError):
                    path.unlink()
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
    """Create the file that names the writer, or take the place of a dead one; BlockingIOError if that lives."""
    while True:
        with suppress(FileExistsError):
            _create(path, sign)
            return
        before = _content(path)
        # Of this machine the kernel's lock says that nobody is left.
        if not (locked and _facts(before).get("machine") == _machine()):
            _watch(path)
        if before is not None and _succeed(path, before, sign):
            return


def _succeed(path: Path, before: bytes, sign: bytes) -> bool:
    """Take the place of a dead writer, which one process alone can do; false if all must be looked at again.

    Several may have found it dead. The first creates the file of the successor, whose name is made of the dead one's
    sign. Whoever does so later, when it is in its place already, sees there that another one was faster.
    """
    heir = path.with_name(f"{WRITER}.{hashlib.sha256(before).hexdigest()[:16]}{PARTIAL}")
    try:
        _create(heir, sign)
    except FileExistsError:
        _watch(path)
        heir.unlink(missing_ok=True)  # it died on its way
        return False
    if _content(path) == before:
        heir.replace(path)
        return True
    heir.unlink(missing_ok=True)
    return False


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
    """Wait until the file is gone, or it is clear that nobody gives signs of life; BlockingIOError if somebody does.

    Who waits is told why, once it takes longer than a look, and on standard error: a lock has no report.
    """
    before, end, told = _changed(path), time.monotonic() + SECONDS_OF_SILENCE, False
    while before and time.monotonic() < end:
        time.sleep(min(SECONDS_BETWEEN_LOOKS, SECONDS_OF_SILENCE / 2))
        now = _changed(path)
        if now and now != before:
            raise BlockingIOError
        before = now
        if now and not told:
            told, what = True, f"{shown(path.parent)} seems to be written by {_writer(path)}"
            with suppress(OSError, ValueError):  # standard error may be closed
                sys.stderr.write(f"lossviz: {what}; watching for up to {SECONDS_OF_SILENCE:.0f} s whether it lives\n")


def _changed(path: Path) -> tuple[int, int] | None:
    """Which file it is, and when it was changed by the clock of its server; None if it is gone."""
    try:
        with path.open("rb") as file:  # opening asks the server: what NFS remembers may be a minute old
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


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


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _facts(content: bytes | None) -> dict[str, object]:
    try:
        facts = json.loads(content or b"")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _writer(path: Path) -> str:
    try:
        return "process {pid} on {host} since {since}: {command}".format(**_facts(_content(path)))
    except (OSError, KeyError):
        return "another process"
