"""A scan by workers that is on its way, and the processes that it needs."""

import contextlib
import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.ends import said
from chaos.processes import MARK, command_of, members
from chaos.stages import RUN, settings
from lossviz.errors import LossvizError
from lossviz.results import TO_DO, load_results
from tests.faults.launch import ROOT, Lossviz

# Many small passes, so that a scan lasts while its workers are disturbed.
SCAN = settings(
    *("surface.x=[-1, 1, 12]", "surface.y=[-1, 1, 11]", "surface.batch_size=10", "surface.compile=false"),
    "surface.data={examples: all}",
)
COMMAND = ["surface", RUN, *SCAN]
FILE = Path(RUN) / "surface-main.nc"
# Workers import torch, on a busy machine one after another.
SECONDS_TO_BEGIN = 180.0


class TooLateError(Exception):
    """A command ended before somebody disturbed it."""


@dataclass
class Stand:
    """A scan that is on its way, and what there is to disturb.

    Attributes:
        folder: the working directory.
        chance: decides when and whom.
        mark: of all processes that belong to it.
    """

    folder: Path
    chance: random.Random
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    lossviz: Lossviz | None = None
    address: str = ""

    def start(self, options: Sequence[str], full_at: int | None = None) -> None:
        """Start the command; see `Lossviz` for a disk that is full."""
        self.lossviz = Lossviz([*COMMAND, *options], self.folder, environment={MARK: self.mark}, full_at=full_at)

    @property
    def alive(self) -> bool:
        """Whether the command has not ended; it may not have begun."""
        return self.lossviz is None or self.lossviz.process.is_alive()

    @property
    def said(self) -> str:
        """What the command said so far."""
        return "" if self.lossviz is None else said(self.lossviz)

    def ours(self, module: str) -> list[int]:
        """Processes of a Python module."""
        return [each for each in members(-1, self.mark) if f"-m {module}" in command_of(each)]

    def wait_for_points(self) -> None:
        """Wait until some points are saved, and a little longer.

        Raises:
            TooLateError: the command has ended.
        """
        self.wait(self.has_points)
        time.sleep(self.chance.uniform(0, 3))
        if not self.alive:
            raise TooLateError

    def has_points(self) -> bool:
        with contextlib.suppress(LossvizError):
            return bool((load_results(self.folder / FILE).status != TO_DO).any())
        return False

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something, unless the command has ended."""
        until = time.monotonic() + SECONDS_TO_BEGIN
        while not condition() and time.monotonic() < until and self.alive:
            time.sleep(0.1)

    def one_of(self, module: str) -> int:
        """One of the processes of a module.

        Raises:
            TooLateError: none is left.
        """
        there = self.ours(module)
        if not there:
            raise TooLateError
        return self.chance.choice(there)

    def dask(self, module: str, *options: str, folder: Path | None = None, package: Path = ROOT) -> None:
        """Start a part of a cluster of one's own."""
        path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *options],
            cwd=folder or self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", MARK: self.mark, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def scheduler(self) -> None:
        """Start a scheduler, and learn its address."""
        file = self.folder / f"scheduler-{secrets.token_hex(4)}.json"
        loopback = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        self.dask("dask_scheduler", *loopback, "--scheduler-file", str(file))
        self.wait(file.exists)
        time.sleep(0.5)
        self.address = str(json.loads(file.read_text(encoding="utf-8"))["address"])

    def worker(self, folder: Path | None = None, package: Path = ROOT) -> None:
        """Start a worker of that scheduler, in a folder and with a copy of lossviz of its own."""
        options = ("--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--no-dashboard")
        self.dask("dask_worker", self.address, *options, folder=folder, package=package)
