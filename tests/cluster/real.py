"""Real processes: a cluster that somebody else runs, scans by it, and commands in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import pytest

from lossviz.cluster.cluster import Cluster
from lossviz.cluster.local import Local
from lossviz.progress import Report
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.signals import StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from tests.surface.scans import SMALL, configured


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, f"{what}: it takes two minutes"
        time.sleep(0.02)


@contextmanager
def somebodys(local: Local) -> Iterator[Cluster]:
    """`--scheduler` for processes that a test starts and ends, with their certificates in Dask's configuration."""
    local.start()
    names = {"ca-file": "tls_ca_file", "client.key": "tls_client_key", "client.cert": "tls_client_cert"}
    settings = {f"distributed.comm.tls.{name}": getattr(local.security, field) for name, field in names.items()}
    try:
        with dask.config.set(settings), Cluster(0, local.address, "cpu") as cluster:
            yield cluster
    finally:
        local.close()


def scanned_by(cluster: Cluster, out: Path, *settings: str) -> None:
    config = configured(*settings)
    setup = prepare(config, run_of(config, out), "cpu", precision=config.surface.precision)
    with setup.run.writing(config):
        surface(ScanPlan(setup), Report(), StopRequest(), cluster)


def children(pid: int) -> list[int]:
    """The processes that a process started, in their order."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        pytest.skip("there is no /proc here")
    return sorted(int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split())


def computing(pid: int) -> list[int]:
    """Those of them that compute; a process that runs tests has other children, too."""
    return [each for each in children(pid) if "worker_process" in Path(f"/proc/{each}/cmdline").read_text()]


def runs(pid: int) -> bool:
    """Whether a process is there, and not only waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def command(out: Path, *settings: str, workers: int = 2) -> "subprocess.Popen[str]":
    """`lossviz surface` of the run that `trained` makes, with workers."""
    options = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    words = ["surface", "quickstart", "--variant", "batchnorm", "--device", "cpu", "--out", str(out), *options]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", "lossviz", *words, "--workers", str(workers)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
