"""What a worker of Dask does: it builds the network of a scan once, keeps it, and computes points.

The functions return text and numbers alone, and raise nothing: an error goes back in words.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from distributed import get_worker

from lossviz.cluster.job import (
    BEGUN,
    COMPUTED,
    PLACE,
    Answer,
    Begun,
    Computed,
    Decided,
    Job,
    Measured,
    Problem,
    pack,
    unpack,
)
from lossviz.engine.memory import explained_memory
from lossviz.engine.point import Vector
from lossviz.errors import LossvizError, Refusal, WorkError, first_line
from lossviz.files import sha256
from lossviz.provenance import code_fingerprint, versions
from lossviz.run import Run
from lossviz.setup import prepare
from lossviz.surface.attributes import scan_attributes
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import Attributes, ScanFile
from lossviz.surface.grid import Grid, Index, Quantities
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.files import Seen
from lossviz.surface.sampled.lattice import Lattice
from lossviz.surface.workers import Alone, alone, decide
from lossviz.user_code.loader import explained
from lossviz.user_code.permissions import parse_allowed


class Bench:
    """The job that this process has, with its network; one at a time."""

    def __init__(self) -> None:
        self.job = ""
        self.lock = threading.Lock()
        self.said: list[str] = []
        self._damaged: set[str] = set()
        self._facts: Mapping[str, str | int | float] = {}
        self._planned: tuple[Job, ScanPlan, Attributes] | None = None
        self._file: ScanFile | None = None
        self._directions: Mapping[str, Vector] = {}
        self._stack = ExitStack()
        self._alone: Alone | None = None

    def begin(self, job: Job, directions: bytes) -> Mapping[str, str | int | float]:
        """Build what a job needs, and forget the one before; the facts of this place."""
        if self.job == job.id:  # the connection was lost, and the client begins it again
            return self._facts
        self.clear()
        plan, attributes = self._plan(job)
        grid = Grid.unknown({axis: np.array(values) for axis, values in job.axes.items()}, plan.quantities)
        self._file = ScanFile(plan.setup.run, plan.config.name, grid, dict(job.attributes))
        self._directions, digest = _directions(plan, self._file, directions)
        self.job = job.id
        self._facts = {**place({**attributes, "directions_sha256": digest}), "device": attributes["device"]}
        return self._facts

    def decide(self) -> Decided:
        """See `surface.workers.decide`."""
        assert self._planned is not None
        assert self._file is not None
        return Decided(attributes=decide(self._planned[1], self._file, self._directions))

    def compute(self, points: Sequence[Index], samples: bytes) -> bytes:
        """The points, one after another."""
        here = self._here()
        sizes = {prefix: len(split) for prefix, split in here.plan.splits.items()}
        around = coarse_points(here.file, points) if here.sampled else []
        known = unpack(samples, around, sizes) if around else {}
        found: dict[Index, Quantities] = {}
        seen: dict[Index, Seen] = {}
        for each in here.results_beside(points, known.__getitem__):
            found |= each.found
            seen |= each.seen
        how = {name: value for name, value in here.attributes().items() if name in COMPUTED}
        answer = Computed.of(found, self._words(), how).model_copy(update={"damaged": self._met()})
        return answer.encode() + b"\0" + pack(seen)

    def waypoint(self, name: str, path: str, step: int | None, digest: str) -> Measured:
        """What is found at a checkpoint, if it is the one that the client has."""
        here = self._here()
        if sha256(Path(path)) != digest:
            return Measured(misfit=f"its {path} is another checkpoint")
        checkpoint = Checkpoint(name, Path(path), step, titles=here.plan.setup.run.titles)
        (found,) = here.waypoints([checkpoint])
        values, precision = dict(found[0].values), found[0].precision
        return Measured(values=values, precision=precision, said=self._words(), damaged=self._met())

    def clear(self) -> None:
        """Forget the job."""
        self.job, self._alone = "", None
        self.said.clear()
        self._damaged.clear()
        self._stack.close()

    def _plan(self, job: Job) -> tuple[ScanPlan, Attributes]:
        """The plan of a job, or of the one before, where that is the same scan."""
        same = {"id": "", "attributes": {}, "axes": {}}
        before, attributes = (self._planned[0], self._planned[2]) if self._planned else (None, {})
        # Somebody's worker may be older than the checkpoint, which was trained again since.
        here = attributes.get("checkpoint_sha256") == job.attributes["checkpoint_sha256"]
        if before is None or not here or before.model_copy(update=same) != job.model_copy(update=same):
            if job.device == "cpu" or not torch.cuda.is_available():
                torch.set_num_threads(job.threads)
            run, precision = Run(Path(job.folder)), job.config.surface.precision
            plan = ScanPlan(prepare(job.config, run, job.device, parse_allowed(job.allow), precision=precision))
            self._planned = job, plan, scan_attributes(plan.setup, plan.checkpoint, plan.ordered)
        assert self._planned is not None
        return self._planned[1:]

    def _here(self) -> Alone:
        if self._alone is None:
            assert self._planned is not None
            assert self._file is not None
            job, plan, _ = self._planned
            opened = alone(plan, self._file, self._directions, self.said.append, job.scratch or _scratch())
            self._alone = self._stack.enter_context(opened)
        return self._alone

    def _words(self) -> list[str]:
        said, self.said[:] = list(self.said), []
        return said

    def _met(self) -> dict[str, str]:
        """The damaged files that were skipped since the last answer."""
        assert self._planned is not None
        damaged = self._planned[1].setup.data.damaged
        new = {path: reason for path, reason in damaged.items() if path not in self._damaged}
        self._damaged |= new.keys()
        return new


BENCH = Bench()


def begin(text: str, directions: bytes) -> bytes:
    """Take a job (JSON of `Job`), with its directions as a safetensors file; JSON of `Begun`."""
    facts = computing()

    def begun() -> None:
        facts["folder"] = str(Path.cwd())
        facts.update(BENCH.begin(Job.read(text.encode()), directions))
        if BEGUN in os.environ:
            Path(os.environ[BEGUN]).touch()

    problem = _told(begun)
    return Begun(facts=facts, problem=problem).encode()


def decide_for(job: str) -> bytes:
    """Decide how to compute a job; JSON of `Decided`."""
    return _answer(job, lambda: BENCH.decide().encode())


def compute(job: str, points: Sequence[Sequence[int]], samples: bytes) -> bytes:
    """Compute some points of a job; JSON of `Computed`, and behind a 0 what was seen at coarse points (`pack`).

    Args:
        job: its id.
        points: of the grid.
        samples: what was seen at the coarse points around them, in the same form.
    """
    return _answer(job, lambda: BENCH.compute([tuple(point) for point in points], samples))


def waypoint(job: str, name: str, path: str, step: int | None, digest: str) -> bytes:
    """Measure a checkpoint beside the grid; JSON of `Measured`."""
    return _answer(job, lambda: BENCH.waypoint(name, path, step, digest).encode())


def coarse_points(file: ScanFile, points: Sequence[Index]) -> list[Index]:
    """The coarse points of a sampled scan that some points are interpolated from."""
    lattice = Lattice(file.grid.status.shape)
    return list(dict.fromkeys(each for index in points if index not in lattice for each in lattice.around(index)))


def computing() -> dict[str, str | int | float]:
    """What computes here, which must be the same everywhere: see `job.VERSIONS`."""
    # Without the name of a build, as in 2.11.0+cpu: the one for CUDA is of the same release.
    torch_version = versions()["torch"].partition("+")[0]
    return {"lossviz": versions()["lossviz"], "code": code_fingerprint(), "torch": torch_version}


def place(attributes: Mapping[str, str | int | float]) -> dict[str, str | int | float]:
    """The facts among the attributes of a scan, see `job.PLACE`; the paths of a person's code may differ."""
    digests = [line.split()[-1] for line in str(attributes["own_code"]).splitlines()]
    own_code = hashlib.sha256(" ".join(digests).encode()).hexdigest() if digests else ""  # of any number of files
    return {**{name: attributes[name] for name in PLACE}, "own_code": own_code}


def _answer(job: str, work: Callable[[], bytes]) -> bytes:
    answer = Answer(has_job=False).encode()

    def answered() -> None:
        nonlocal answer
        if BENCH.job == job:
            answer = work()

    problem = _told(answered)
    return Answer(problem=problem).encode() if problem else answer


def _told(work: Callable[[], None]) -> Problem | None:
    """Do something; why it failed, if it did."""
    with BENCH.lock:  # a worker with several threads has one network
        try:
            with explained(), explained_memory("a worker"):
                work()
        except LossvizError as error:
            return Problem.of(error)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            return Problem.of(WorkError(Refusal("a worker", f"failed: {reason}")))
    return None


def _scratch() -> str:
    """The folder that Dask gives to this worker, and removes at its end."""
    try:
        return str(get_worker().local_directory)
    except ValueError:  # in no worker of Dask
        return tempfile.gettempdir()


def _directions(plan: ScanPlan, file: ScanFile, content: bytes) -> tuple[Mapping[str, Vector], str]:
    """The directions that were sent, or drawn again, and their SHA-256."""
    if not plan.keeps_directions:
        found = plan.directions()
        return found.vectors, found.digest
    saved, moving = safetensors.torch.load(content), plan.subspace.only(file.moved)
    vectors = {axis: moving.from_tensors(saved, axis) for axis in plan.axes}
    return vectors, hashlib.sha256(content).hexdigest()
