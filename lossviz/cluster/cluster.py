"""A cluster as the workers of scans: connected when the first one needs it, for all variants of a command."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from lossviz.cluster.crew import SECONDS_A_TASK, Crew
from lossviz.cluster.job import Answer, Computed, Decided, Job, Measured, pack, plain, unpack
from lossviz.cluster.local import Local, visible_devices
from lossviz.cluster.pool import SECONDS_BETWEEN_LOOKS, Pool
from lossviz.cluster.tasks import Assignment, Kind
from lossviz.cluster.worker import coarse_points, compute, computing, decide_for, place, waypoint
from lossviz.engine.point import Vector
from lossviz.errors import needing_extra
from lossviz.files import read, sha256
from lossviz.progress import duration
from lossviz.provenance import machine
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import Attributes, ScanFile
from lossviz.surface.grid import Index
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.files import SampleFiles
from lossviz.surface.sampled.lattice import Lattice
from lossviz.surface.waypoints import Waypoint, waypoint_quantities
from lossviz.surface.workers import Results, Say

# Of a worker on a CPU, whatever the number of its cores: others give other last digits.
THREADS = 1
# From the start of a worker to its first point: torch, data, network.
SECONDS_TO_BEGIN = 10.0
SECONDS_TO_COUNT = 5.0
TCP = (
    "warning: tcp:// is neither encrypted nor authenticated: who reaches the scheduler or a worker runs code there, "
    "and can change the numbers; use tls:// unless the network is yours alone"
)


@dataclass
class Cluster:
    """Where the points of the scans of one command are computed; see `surface.workers.Place`.

    Attributes:
        count: of the workers to start on this machine; 0 where a scheduler is named.
        scheduler: the address of one that somebody runs.
        device: of the workers, as `--device` says it.
    """

    count: int
    scheduler: str
    device: str
    _pool: Pool | None = field(default=None, init=False)
    _local: Local | None = field(default=None, init=False)
    _crew: tuple[ScanPlan, Crew] | None = field(default=None, init=False)

    def __enter__(self) -> "Cluster":
        if self.device == "cpu" or not torch.cuda.is_available():
            torch.set_num_threads(THREADS)  # directions are derivatives of the loss, or have norms
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()
        if self._local is not None:
            self._local.close()

    def connected(self, say: Say) -> Pool:
        """The connection, which is made when it is first needed.

        Raises:
            WorkError: the scheduler cannot be started, or reached.
        """
        if self._pool is None:
            if self.count:
                with needing_extra("cluster", "--workers"):
                    self._local = Local(self.count, visible_devices(self.device), say=say)
                self._local.start()
                self._pool = Pool(self._local.address, self._local.security, self._local.tend)
            else:
                if self.scheduler.startswith("tcp://"):
                    say(TCP)
                self._pool = Pool(self.scheduler)
            if self._pool.dashboard:
                say(f"dashboard: {self._pool.dashboard}")
        return self._pool

    def decide(self, plan: ScanPlan, file: ScanFile, _: Mapping[str, Vector], say: Say) -> Attributes:
        """What is decided before a scan begins, by one worker: this machine may have no GPU."""
        crew = self._crew_of(plan, say)
        crew.assign(self._assignment(plan, file, most=1))

        def decided(answer: Decided, *_: object) -> Attributes:
            return answer.decided()

        kind = Kind(decide_for, lambda _: (), Decided, decided, lambda _: "the choice of a batch size")
        return next(found for found in crew.each(kind, [()]) if found is not None)

    @contextmanager
    def workers(self, plan: ScanPlan, file: ScanFile, _: Mapping[str, Vector], say: Say) -> Iterator["ClusterWorkers"]:
        """The workers of one scan.

        Raises:
            WorkError: the scheduler cannot be reached, or has ended.
        """
        crew = self._crew_of(plan, say)
        crew.assign(self._assignment(plan, file))
        yield ClusterWorkers(plan, file, crew)

    def estimate(self, points: int, seconds: float) -> list[str]:
        """By how many workers, and how long; those of a scheduler are counted."""
        workers, devices = self.count, visible_devices(self.device)
        if not workers:
            pool, end = self.connected(lambda _: None), time.monotonic() + SECONDS_TO_COUNT
            while not (workers := len(pool.workers())) and time.monotonic() < end:
                time.sleep(SECONDS_BETWEEN_LOOKS)
        if not workers:
            return [f"{self.scheduler} has no worker yet"]
        cores = int(machine()["cores"] or workers) if self.count and not devices else workers
        at_once = min(workers, len(devices) or cores) if self.count else workers
        tasks = max(min(points, workers), min(points, round(seconds / SECONDS_A_TASK)))
        share = f", of which {at_once} compute at one time" if at_once < workers else ""
        return [
            f"by {_counted(workers, 'worker')}{share}: about {duration(SECONDS_TO_BEGIN + seconds / at_once)}, in some "
            f"{tasks:,} tasks (1 % of the time); each reads the data and builds the network once"
        ]

    def _assignment(self, plan: ScanPlan, file: ScanFile, most: int = 10**9) -> Assignment:
        setup = plan.setup
        job = Job(
            id=uuid.uuid4().hex,
            config=setup.config,
            folder=str(setup.run.folder),
            device=self.device,
            threads=THREADS,
            allow=tuple(setup.allowed.options[1::2]),
            axes={axis: values.tolist() for axis, values in file.grid.axes.items()},
            attributes=file.attributes,
            # The system's folder may be in memory; workers of other machines may have no folder of the run.
            scratch=str(setup.run.folder) if self.count else "",
        )
        directions = read(setup.run.directions_file(file.name)) if plan.keeps_directions else b""
        return Assignment(job, directions, {**computing(), **place(file.attributes)}, most)

    def _crew_of(self, plan: ScanPlan, say: Say) -> Crew:
        if self._crew is None or self._crew[0] is not plan:
            self._crew = plan, Crew(self.connected(say), say)
        return self._crew[1]


@dataclass(eq=False)
class ClusterWorkers:
    """The workers of one scan; see `surface.workers.Workers`."""

    plan: ScanPlan
    file: ScanFile
    crew: Crew

    def results(self, points: Sequence[Index], samples: SampleFiles) -> Iterator[Results]:
        """What the workers find, in the order in which they do."""
        grid, lattice = self.file.grid, Lattice(self.file.grid.status.shape)
        sizes = {prefix: len(split) for prefix, split in self.plan.splits.items()}

        def arguments(block: list[Index]) -> tuple[object, ...]:
            around = coarse_points(self.file, block) if self.plan.sampled else []
            return block, pack({index: samples.load(grid.place(index)) for index in around})

        def read_results(answer: Computed, rest: bytes, block: list[Index]) -> Results:
            self._note(answer)
            coarse = [index for index in block if self.plan.sampled and index in lattice]
            return Results(answer.found(block, self.plan.quantities), unpack(rest, coarse, sizes))

        if self.plan.sampled:  # neighbours need the same samples
            points = sorted(points, key=lambda index: sorted(lattice.around(index)))
        kind = Kind(compute, arguments, Computed, read_results, lambda index: f"the point {index}", _seconds)
        return (each or Results() for each in self.crew.each(kind, points))

    def waypoints(self, checkpoints: Sequence[Checkpoint]) -> Iterator[Mapping[int, Waypoint]]:
        """What is found at the checkpoints, which the workers read under the same paths."""
        names = waypoint_quantities(self.plan.axes)

        def arguments(block: list[Index]) -> tuple[object, ...]:
            each = checkpoints[block[0][0]]
            return each.name, str(each.path), each.step, sha256(each.path)

        def read_waypoint(answer: Measured, _: bytes, block: list[Index]) -> Mapping[int, Waypoint]:
            self._note(answer)
            return {block[0][0]: answer.waypoint(names)}

        def what(index: Index) -> str:
            return f"the checkpoint {checkpoints[index[0]].name}"

        kind = Kind(waypoint, arguments, Measured, read_waypoint, what)
        return (each or {} for each in self.crew.each(kind, [(place,) for place in range(len(checkpoints))]))

    def attributes(self) -> Attributes:
        """How the workers computed, and on which devices; nothing if none has begun."""
        if not self.crew.devices:
            return {}
        mine, devices = self.plan.setup.backend.facts()["device_name"], self.crew.devices.values()
        before = [each for each in str(self.file.attributes["device"]).split("; ") if each != mine]
        return {**self.crew.attributes, "device": "; ".join(dict.fromkeys([*before, *devices]))}

    def _note(self, answer: Answer) -> None:
        """Record what a worker skipped, where what this process skips is recorded."""
        self.plan.setup.data.add_damaged({plain(path): plain(reason) for path, reason in answer.damaged.items()})

    def count(self) -> int:
        """How many had the job so far, those that died among them."""
        return len(self.crew.devices)

    def state(self) -> str:
        """How many workers there are, and how many tasks were lost with one."""
        workers, retries = self.crew.ready, self.crew.retries
        again = f", {_counted(retries, 'task')} again" if retries else ""
        return f"{_counted(workers, 'worker')}{again}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _seconds(results: Results) -> float:
    return sum(float(values["seconds"]) for values in results.found.values()) / len(results.found)
