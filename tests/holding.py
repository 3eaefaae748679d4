"""Another process that holds a run folder."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def holding(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that says `held` when it holds a folder, until it is told to go on, or is killed."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
