"""Manners of a process of `--workers`: what it is comes on standard input, and it ends when the command does."""

import ctypes
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import dask
from distributed import Worker
from distributed.security import Security

from lossviz.cluster.guard import quiet

HOST = "127.0.0.1"
_PR_SET_PDEATHSIG = 1


def told() -> tuple[dict[str, Any], Security]:
    """What the command says to this process, and the credentials that it shares with its processes alone."""
    given: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    _end_with(given["parent"])
    quiet(logging.ERROR)  # what is in the log is told where the process ends
    dask.config.set({"distributed.worker.profile.enabled": False})
    return given, Security(**given["security"])


def _end_with(parent: int) -> None:
    """End when the parent does: the kernel kills even a stopped process on Linux; elsewhere a closed pipe tells."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def loopback_worker(
    address: str, security: Security, folder: str, death_timeout: float, name: str = "", preload: Sequence[str] = ()
) -> Worker:
    """A worker with one thread that listens on loopback alone; see `distributed.Worker`."""
    return Worker(
        address,
        nthreads=1,
        host=HOST,
        protocol="tls",
        security=security,
        dashboard=False,
        dashboard_address=f"{HOST}:0",
        memory_limit=0,
        local_directory=folder,
        death_timeout=death_timeout,
        name=name or None,
        preload=list(preload),
    )
