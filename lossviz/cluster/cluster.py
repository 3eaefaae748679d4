"""A cluster as the workers of scans: connected when the first one needs it, for all variants of a command."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import xarray as xr

from lossviz.cluster.crew import Crew
from lossviz.cluster.job import Job
from lossviz.cluster.local import Local, visible_devices
from lossviz.cluster.pool import Pool
from lossviz.cluster.worker import computing, place
from lossviz.engine.point import Vector
from lossviz.errors import refuse
from lossviz.files import read
from lossviz.progress import Track
from lossviz.signals import StopRequest
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.file import Attributes, Found, ScanFile
from lossviz.surface.grid import Index
from lossviz.surface.plan import ScanPlan
from lossviz.surface.workers import alone

# Of a worker on a CPU, whatever the number of its cores: others give other last digits.
THREADS = 1
TCP = (
    "warning: tcp:// is neither encrypted nor authenticated: who reaches the scheduler or a worker runs code there, "
    "and can change the numbers; use tls:// unless the network is yours alone"
)


@dataclass
class Cluster:
    """Where the points of the scans of one command are computed.

    Attributes:
        count: of the workers to start on this machine; 0 where a scheduler is named.
        scheduler: the address of one that somebody runs.
        device: of the workers, as `--device` says it.
    """

    count: int
    scheduler: str
    device: str
    _local: Local | None = None
    _pool: Pool | None = None

    def __enter__(self) -> "Cluster":
        if self.device == "cpu" or not torch.cuda.is_available():
            torch.set_num_threads(THREADS)  # directions are derivatives of the loss, or have norms
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()
        if self._local is not None:
            self._local.close()

    @contextmanager
    def workers(
        self, plan: ScanPlan, file: ScanFile, directions: Mapping[str, Vector], say: Callable[[str], None]
    ) -> Iterator["ClusterWorkers"]:
        """The workers of one scan.

        Raises:
            WorkError: the scheduler cannot be reached, or has ended.
        """
        if plan.sampled:
            refuse("surface.accuracy", "is not for workers yet", advice="leave --workers and --scheduler out")
        pool, setup = self._connected(say), plan.setup
        job = Job(
            id=uuid.uuid4().hex,
            config=setup.config,
            folder=str(setup.run.folder),
            device=self.device,
            threads=THREADS,
            allow=tuple(setup.allowed.options[1::2]),
            axes={axis: values.tolist() for axis, values in file.grid.axes.items()},
            attributes=file.attributes,
        )
        content = read(setup.run.directions_file(file.name)) if plan.keeps_directions else b""
        facts = {**computing(), **place(file.attributes)}
        yield ClusterWorkers(plan, file, directions, Crew(pool, job, content, facts, plan.quantities, say), say)

    def _connected(self, say: Callable[[str], None]) -> Pool:
        if self._pool is None:
            if self.count:
                self._local = Local(self.count, visible_devices(self.device))
                self._local.start()
                self._pool = Pool(self._local.address, self._local.security, self._local.tend)
            else:
                if self.scheduler.startswith("tcp://"):
                    say(TCP)
                self._pool = Pool(self.scheduler)
            say(f"dashboard: {self._pool.dashboard}")
        return self._pool


@dataclass(eq=False)
class ClusterWorkers:
    """The workers of one scan; see `surface.workers.Workers`."""

    plan: ScanPlan
    file: ScanFile
    directions: Mapping[str, Vector]
    crew: Crew
    say: Callable[[str], None]

    def results(self, points: Sequence[Index]) -> Iterator[Found]:
        """What the workers find, in the order in which they do."""
        return self.crew.results(points)

    def waypoints(self, checkpoints: Sequence[Checkpoint], track: Track, stop: StopRequest) -> xr.Dataset:
        """What is found at the checkpoints, in this process."""
        with alone(self.plan, self.file, self.directions, self.say) as here:
            return here.waypoints(checkpoints, track, stop)

    def attributes(self) -> Attributes:
        """How the workers computed, and on which devices."""
        mine, devices = self.plan.setup.backend.facts()["device_name"], list(self.crew.devices)
        before = [each for each in str(self.file.attributes["device"]).split("; ") if each != mine]
        return {**self.crew.attributes, "device": "; ".join(dict.fromkeys([*before, *devices]))}
