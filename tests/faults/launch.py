"""Real lossviz processes that start in milliseconds: forked from a server that has imported everything.

They run `lossviz.cli.main` as the console script does; signals, limits, terminals and deaths are real.
"""

import contextlib
import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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
ROOT = Path(__file__).parents[2]
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOAD)


class Faults(NamedTuple):
    """What befalls a process, as the arguments of `Lossviz` say it."""

    largest_file: int | None
    dies_at: int | None
    full_at: int | None
    obeys: bool
    environment: Mapping[str, str]


class Process(Protocol):
    """What is used of a process, whoever started it."""

    @property
    def pid(self) -> int | None: ...
    @property
    def exitcode(self) -> int | None: ...
    def start(self) -> None: ...
    def is_alive(self) -> bool: ...
    def join(self, timeout: float | None = None) -> None: ...


class Fresh:
    """The console script in a new Python."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, where: tuple[str, str], environment: Mapping[str, str]
    ) -> None:
        self.arguments, self.folder, self.where, self.environment = arguments, folder, where, environment

    def start(self) -> None:
        out, err = (os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in self.where)
        command = [sys.executable, "-m", "lossviz", *self.arguments]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **self.environment}
        self.popen = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=err, env=env, start_new_session=True)
        os.close(out)
        os.close(err)

    @property
    def pid(self) -> int | None:
        return self.popen.pid

    @property
    def exitcode(self) -> int | None:
        return self.popen.poll()

    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def join(self, timeout: float | None = None) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(timeout)


class Lossviz:
    """One `lossviz ARGUMENTS` in a process of its own.

    Args:
        arguments: of the command line.
        folder: the working directory; standard output and standard error are kept in it too.
        terminal: the path of a terminal for standard input, output and error.
        largest_file: as `ulimit -f`, in bytes: what a full disk is to a program.
        dies_at: kill -9 in the middle of writing: at this call of fsync, counted from 1 (two for a file written).
        full_at: the disk is full from this call of fsync on.
        obeys: the permissions of files, which root otherwise does not.
        fresh: a new Python that imports everything, as a person's; it takes seconds, and knows no other fault.
        environment: variables that are set.

    Each is the leader of a session of its own, so that whatever it starts can be found and ended.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        terminal: str | None = None,
        largest_file: int | None = None,
        dies_at: int | None = None,
        full_at: int | None = None,
        obeys: bool = False,
        fresh: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.out_file, self.err_file = folder / "stdout", folder / "stderr"
        for file in (self.out_file, self.err_file):
            file.unlink(missing_ok=True)
        where = (terminal, terminal) if terminal else (str(self.out_file), str(self.err_file))
        faults = Faults(largest_file, dies_at, full_at, obeys, environment or {})
        self.process: Process = (
            Fresh(arguments, folder, where, faults.environment)
            if fresh
            else CONTEXT.Process(target=_main, args=(list(arguments), str(folder), where, faults))
        )
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


def _main(arguments: list[str], folder: str, where: tuple[str, str], faults: Faults) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # multiprocessing has its own; main installs those of lossviz
    os.setsid()
    os.environ.update({"TERM": "xterm", **faults.environment})
    for descriptor, path in enumerate(where, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY), descriptor)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, encoding="utf-8", closefd=False) for number in (1, 2))
    os.chdir(folder)
    sys.argv = ["lossviz", *arguments]
    if faults.largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (faults.largest_file, faults.largest_file))
    if faults.dies_at is not None:
        _at_fsync(faults.dies_at, _die)
    if faults.full_at is not None:
        _at_fsync(faults.full_at, _find_no_space)
    if faults.obeys:
        _give_up_capabilities()
    torch.set_num_threads(1)
    main()


def _at_fsync(call: int, fail: Callable[[], None]) -> None:
    calls, fsync = count(1), os.fsync

    def counted(fd: Any) -> None:
        if next(calls) >= call:
            fail()
        fsync(fd)

    os.fsync = counted


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _find_no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _give_up_capabilities() -> None:
    """Be an ordinary user: the root user of a container may write where permissions forbid it."""
    if os.geteuid() == 0:
        version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
        none = (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(version_3, none):
            raise OSError(ctypes.get_errno(), "capset")
