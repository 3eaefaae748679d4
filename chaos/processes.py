"""Processes that a command started, wherever they went."""

import contextlib
import os
import signal
import time
from pathlib import Path

# A worker that was told to end may need a moment for it.
SECONDS_TO_END = 5.0


# A variable that a command is started with: processes that it starts have it too, whatever session they lead.
MARK = "LOSSVIZ_CHAOS"


def members(session: int, mark: str = "") -> list[int]:
    """The living processes of a session, and those with a mark: a command leads a session, its workers lead others."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # After the name in brackets, which may hold spaces: state, parent, group, session.
                state, _, _, its = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:4]
                marked = bool(mark) and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
                if state != "Z" and (int(its) == session or marked):
                    found.append(int(folder.name))
    return found


def command_of(process: int) -> str:
    """The command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def end_orphans(session: int, mark: str = "", seconds: float = SECONDS_TO_END) -> list[str]:
    """Processes that are still there some seconds after their command ended; they are killed then."""
    until = time.monotonic() + seconds
    while (left := members(session, mark)) and time.monotonic() < until:
        time.sleep(0.05)
    found = [command_of(process) for process in left]
    for process in left:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
    return found
