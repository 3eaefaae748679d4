"""One writer at a time in a run folder."""

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lossviz.errors import Refusal, WorkError
from lossviz.files import shown

LOCK = ".lock"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    The lock is the kernel's (flock), so it ends with its process however that dies; the file only
    tells others who holds it.

    Raises:
        WorkError: another living process writes here, or the folder cannot be written.
    """
    path = folder / LOCK
    me = {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["lossviz", *sys.argv[1:]]),
    }
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that a full disk is met here and not again on closing.
            file = held.enter_context(path.open("ab", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(json.dumps(me).encode())
        except BlockingIOError:
            problem = f"is being written by {_holder(path)}"
            raise WorkError(Refusal(shown(folder), problem, advice="wait for it, or end it")) from None
        except OSError as error:
            problem = f"cannot be written: {error.strerror}"
            advice = "make room or name another folder with --out"
            raise WorkError(Refusal(shown(folder), problem, advice=advice)) from error
        try:
            yield
        finally:
            file.truncate(0)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return "process {pid} on {host} since {since}: {command}".format(**holder)
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
