"""What a worker of Dask does: it builds the network of a scan once, keeps it, and computes points.

Both functions take and return text alone, and raise nothing: an error goes back in words.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from lossviz.cluster.job import PLACE, Begun, Computed, Job, Problem
from lossviz.engine.memory import explained_memory
from lossviz.engine.point import Vector
from lossviz.errors import LossvizError, WorkError, first_line
from lossviz.provenance import code_fingerprint, versions
from lossviz.run import Run
from lossviz.setup import prepare
from lossviz.surface.attributes import scan_attributes
from lossviz.surface.file import ScanFile
from lossviz.surface.grid import Grid
from lossviz.surface.plan import ScanPlan
from lossviz.surface.workers import Alone, alone
from lossviz.user_code.loader import explained
from lossviz.user_code.permissions import parse_allowed


class Bench:
    """The job that this process has, with its network; one at a time."""

    def __init__(self) -> None:
        self.job = ""
        self.lock = threading.Lock()
        self.said: list[str] = []
        self._facts: Mapping[str, str | int | float] = {}
        self._stack = ExitStack()
        self._alone: Alone | None = None

    def begin(self, job: Job, directions: bytes) -> Mapping[str, str | int | float]:
        """Build what a job needs, and forget the one before; the facts of this place."""
        if self.job == job.id:  # the connection was lost, and the client begins it again
            return self._facts
        self.clear()
        if job.device == "cpu" or not torch.cuda.is_available():
            torch.set_num_threads(job.threads)
        allowed = parse_allowed(job.allow)
        setup = prepare(job.config, Run(Path(job.folder)), job.device, allowed, precision=job.config.surface.precision)
        plan = ScanPlan(setup)
        attributes = scan_attributes(setup, plan.checkpoint, plan.ordered)
        grid = Grid.unknown({axis: np.array(values) for axis, values in job.axes.items()}, plan.quantities)
        file = ScanFile(setup.run, job.config.surface.name, grid, dict(job.attributes))
        vectors, digest = _directions(plan, file, directions)
        self._alone = self._stack.enter_context(alone(plan, file, vectors, self.said.append))
        self.job = job.id
        self._facts = {**place({**attributes, "directions_sha256": digest}), "device": attributes["device"]}
        return self._facts

    def compute(self, points: Sequence[tuple[int, ...]]) -> Computed:
        """The points, one after another."""
        assert self._alone is not None
        found = {index: values for each in self._alone.results(points) for index, values in each.items()}
        said, self.said[:] = list(self.said), []
        return Computed.of(found, said, self._alone.attributes())

    def clear(self) -> None:
        """Forget the job."""
        self.job, self._alone = "", None
        self.said.clear()
        self._stack.close()


BENCH = Bench()


def begin(text: str, directions: bytes) -> bytes:
    """Take a job (JSON of `Job`), with its directions as a safetensors file; JSON of `Begun`."""
    facts = computing()

    def begun() -> None:
        facts.update(BENCH.begin(Job.read(text.encode()), directions))

    problem = _told(begun)
    return Begun(facts=facts, problem=problem).encode()


def compute(job: str, points: Sequence[Sequence[int]]) -> bytes:
    """Compute some points of a job; JSON of `Computed`."""
    answer = Computed(has_job=False)

    def computed() -> None:
        nonlocal answer
        if BENCH.job == job:
            answer = BENCH.compute([tuple(point) for point in points])

    problem = _told(computed)
    return (Computed(problem=problem) if problem else answer).encode()


def computing() -> dict[str, str | int | float]:
    """What computes here, which must be the same everywhere: see `job.VERSIONS`."""
    # Without the name of a build, as in 2.11.0+cpu: the one for CUDA is of the same release.
    torch_version = versions()["torch"].partition("+")[0]
    return {"lossviz": versions()["lossviz"], "code": code_fingerprint(), "torch": torch_version}


def place(attributes: Mapping[str, str | int | float]) -> dict[str, str | int | float]:
    """The facts among the attributes of a scan, see `job.PLACE`; the paths of a person's code may differ."""
    found = {name: attributes[name] for name in PLACE}
    return {**found, "own_code": " ".join(line.split()[-1] for line in str(found["own_code"]).splitlines())}


def _told(work: Callable[[], None]) -> Problem | None:
    """Do something; why it failed, if it did."""
    with BENCH.lock:  # a worker with several threads has one network
        try:
            with explained(), explained_memory("a worker"):
                work()
        except LossvizError as error:
            return Problem.of(error)
        except Exception as error:
            return Problem.of(WorkError(f"a worker failed: {type(error).__name__}: {first_line(error)}"))
    return None


def _directions(plan: ScanPlan, file: ScanFile, content: bytes) -> tuple[Mapping[str, Vector], str]:
    """The directions that were sent, or drawn again, and their SHA-256."""
    if not plan.keeps_directions:
        found = plan.directions()
        return found.vectors, found.digest
    saved, moving = safetensors.torch.load(content), plan.subspace.only(file.moved)
    vectors = {axis: moving.from_tensors(saved, axis) for axis in plan.axes}
    return vectors, hashlib.sha256(content).hexdigest()
