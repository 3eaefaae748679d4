"""A scan by two real processes, one of which dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lossviz.run import run_of
from tests.surface.scans import SMALL, configured, same, scanned, surface_of


def waited(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(24_000):
        if condition() or process.poll() is not None:
            return
        time.sleep(0.005)
    process.kill()
    raise AssertionError("it takes two minutes")


def test_two_processes_of_which_one_is_killed(trained: Path, tmp_path: Path) -> None:
    """What is left over is finished by one process, to the very numbers of a scan that nobody disturbed."""
    settings = (*SMALL, "surface.x=[-1, 1, 11]", "surface.y=[-1, 1, 11]", "surface.data.examples=200")
    run = run_of(configured(), trained)
    options = [part for setting in settings for part in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        "0",
        "--standalone",
    ]
    command += ["-m", "lossviz", "surface", "quickstart", "--variant", "batchnorm", "--device", "cpu"]
    command += ["--out", str(trained), *options]
    paths = [str(Path(__file__).parents[2]), *sys.path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log, text=True)
        waited(lambda: len(run.block_files("main")) >= 3, process)
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for worker in workers[-1:]:
            os.kill(int(worker), signal.SIGKILL)
        waited(lambda: False, process)
        log.seek(0)
        said = log.read()
    assert process.returncode != 0, said
    assert run.block_files("main"), said
    assert int((surface_of(trained).status == 1).sum()) == 0
    scanned(trained, *settings[len(SMALL) :])
    scanned(trained, *settings[len(SMALL) :], "surface.name=whole")
    found = surface_of(trained)
    same(found, surface_of(trained, "whole"))
    assert (found.status == 1).all()
    assert run.block_files("main") == []
