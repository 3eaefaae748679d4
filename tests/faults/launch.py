"""Real lossviz processes that start in milliseconds: forked from a server that has imported everything.

They run `lossviz.cli.main` as the console script does; signals, limits, terminals and deaths are real.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from lossviz.cli import main

PRELOAD = [
    "torch",
    "torchvision.datasets",
    "sklearn.datasets",
    "sklearn.model_selection",
    "h5netcdf",
    "lossviz.cli",
    "lossviz.work",
    "lossviz.plot.draw",
    "tests.faults.launch",
]
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOAD)


class Lossviz:
    """One `lossviz ARGUMENTS` in a process of its own.

    Args:
        arguments: of the command line.
        folder: the working directory; standard output and standard error are kept in it too.
        terminal: the path of a terminal for standard input, output and error.
        largest_file: as `ulimit -f`, in bytes: what a full disk is to a program.
        dies_at: kill -9 in the middle of writing: at this call of fsync, counted from 1 (two for a file written).
        obeys: the permissions of files, which root otherwise does not.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        terminal: str | None = None,
        largest_file: int | None = None,
        dies_at: int | None = None,
        obeys: bool = False,
    ) -> None:
        self.out_file, self.err_file = folder / "stdout", folder / "stderr"
        where = (terminal, terminal) if terminal else (str(self.out_file), str(self.err_file))
        faults = (largest_file, dies_at, obeys)
        self.process = CONTEXT.Process(target=_main, args=(list(arguments), str(folder), where, *faults))
        self.process.start()

    def send(self, number: int) -> None:
        """Send a signal, if the process still lives."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, number)

    def wait(self) -> int:
        """The exit status, negative where a signal killed the process."""
        self.process.join(120)
        if self.process.is_alive():
            self.send(signal.SIGKILL)
            raise AssertionError("lossviz hangs")
        assert self.process.exitcode is not None
        return self.process.exitcode

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is there, or the process has ended."""
        while self.process.is_alive() and not condition():
            time.sleep(0.002)

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self.out_file.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self.err_file.read_text(encoding="utf-8")


def _main(
    arguments: list[str],
    folder: str,
    where: tuple[str, str],
    largest_file: int | None,
    dies_at: int | None,
    obeys: bool,
) -> None:
    os.environ["TERM"] = "xterm"
    for descriptor, path in enumerate(where, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, encoding="utf-8", closefd=False) for number in (1, 2))
    os.chdir(folder)
    sys.argv = ["lossviz", *arguments]
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if dies_at is not None:
        _die_at(dies_at)
    if obeys:
        _give_up_capabilities()
    torch.set_num_threads(1)
    main()


def _die_at(call: int) -> None:
    calls, fsync = count(1), os.fsync

    def counted(fd: Any) -> None:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(fd)

    os.fsync = counted


def _give_up_capabilities() -> None:
    """Be an ordinary user: the root user of a container may write where permissions forbid it."""
    if os.geteuid() == 0:
        version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
        none = (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(version_3, none):
            raise OSError(ctypes.get_errno(), "capset")
