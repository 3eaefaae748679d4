"""`--workers N`: a scheduler and N workers on this machine, for the time of one command."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch
from distributed.security import Security

from lossviz.cluster.job import BEGUN
from lossviz.errors import Refusal, WorkError

# So often in a row a worker may die before it has begun a job, e.g. because its GPU is broken.
DEATHS = 3
# One thread each: the processes share the cores, and numbers should not depend on how many of them there are.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass
class _Process:
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def last_words(self) -> str:
        """How it ended, with the last line that it wrote."""
        code = self.process.poll()
        how = "" if code is None else f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1][:300]}" if lines else how

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()


@dataclass
class Local:
    """The processes of `--workers`.

    Attributes:
        count: of the workers.
        devices: what CUDA_VISIBLE_DEVICES says to each in turn; empty for CPUs.
        security: temporary certificates, which only these processes have.
        address: of the scheduler.
        say: told of places that are given up.
    """

    count: int
    devices: Sequence[str] = ()
    security: Security = field(default_factory=Security.temporary)
    address: str = ""
    say: Callable[[str], object] = print
    _deaths: Counter[int] = field(default_factory=Counter)
    _last_words: str = ""
    _workers: dict[int, _Process] = field(default_factory=dict)
    _scheduler: _Process | None = None

    def start(self) -> None:
        """Start them all.

        Raises:
            WorkError: the scheduler cannot be started.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="lossviz-", ignore_cleanup_errors=True)
        self._scheduler = self._run("scheduler", {}, {}, stdout=subprocess.PIPE)
        assert self._scheduler.process.stdout is not None
        line = self._scheduler.process.stdout.readline()
        if not line:
            self._scheduler.process.wait()
            raise WorkError(Refusal("the scheduler of --workers cannot be started", self._scheduler.last_words()))
        self.address = json.loads(line)["address"]
        for number in range(self.count):
            self.add(number)

    def add(self, number: int) -> None:
        """Start a worker, in the place of one that has ended or beside them."""
        visible = {"CUDA_VISIBLE_DEVICES": self.devices[number % len(self.devices)]} if self.devices else {}
        told = {"address": self.address, "folder": self._folder.name, "name": str(number)}
        environment = {BEGUN: str(self._begun(number)), **(visible or ONE_THREAD)}
        self._workers[number] = self._run("worker_process", told, environment)

    def tend(self) -> str:
        """Start workers again that have ended; the last words of the last of them.

        Raises:
            WorkError: the scheduler has ended, or no worker begins.
        """
        if self._scheduler is None or self._scheduler.process.poll() is not None:
            words = self._scheduler.last_words() if self._scheduler else ""
            advice = "the same command resumes from what was saved"
            raise WorkError(Refusal("the scheduler of --workers has ended", words, advice=advice))
        for number, each in list(self._workers.items()):
            if each.process.poll() is not None:
                self._last_words = f"worker {number} has ended: {each.last_words()}"
                each.close()
                self._replace(number)
        return self._last_words

    def _replace(self, number: int) -> None:
        self._deaths[number] = 0 if self._begun(number).exists() else self._deaths[number] + 1
        self._begun(number).unlink(missing_ok=True)
        if self._deaths[number] < DEATHS:
            self.add(number)
            return
        del self._workers[number]
        problem = f"died {DEATHS} times in a row before it began"
        if not self._workers:
            raise WorkError(Refusal("every worker of --workers", problem, advice=self._last_words))
        self.say(f"warning: worker {number} {problem}, and is not started again: {self._last_words}")

    def _begun(self, number: int) -> Path:
        return Path(self._folder.name) / f"begun-{number}"

    def close(self) -> None:
        """End them all; a stopped one too."""
        for each in filter(None, [*self._workers.values(), self._scheduler]):
            each.close()
        self._workers.clear()
        self._folder.cleanup()

    def _run(
        self, module: str, told: Mapping[str, str], environment: Mapping[str, str], stdout: int | None = None
    ) -> _Process:
        # As this process finds its modules, so do they; not in the working directory unless this one does.
        paths = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        log = (Path(self._folder.name) / secrets.token_hex(8)).open("w+b")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"lossviz.cluster.{module}"],
            stdin=subprocess.PIPE,
            stdout=stdout or log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": paths, **environment},
            start_new_session=True,  # Ctrl-C is for the command
        )
        assert process.stdin is not None
        given = {**told, "parent": os.getpid(), "security": fields(self.security)}
        process.stdin.write(json.dumps(given).encode() + b"\n")
        process.stdin.flush()
        return _Process(process, log)


def visible_devices(device: str) -> list[str]:
    """The CUDA devices that the workers share, as CUDA_VISIBLE_DEVICES names each; none for CPUs."""
    if device not in ("auto", "cuda") or not torch.cuda.is_available():
        return []
    named = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def fields(security: Security) -> dict[str, object]:
    """What `Security` is made from, as JSON can say it."""
    names = [name for name in Security.__slots__ if name.startswith("tls_") and name not in _VERSIONS]
    return {"require_encryption": True, **{name: getattr(security, name) for name in names if getattr(security, name)}}


_VERSIONS = ("tls_min_version", "tls_max_version")
