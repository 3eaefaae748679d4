"""A scheduler of Dask, the real client in this process, and workers that only wait in a few others."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from distributed.security import Security

from benchmarks.waiting import FACTS, loss
from lossviz.cluster.crew import Crew
from lossviz.cluster.job import Computed, Job
from lossviz.cluster.local import Local, fields
from lossviz.cluster.pool import Pool, Ticket
from lossviz.cluster.tasks import Assignment, Dealing, Kind
from lossviz.cluster.worker import compute
from lossviz.config import read
from lossviz.surface.file import Found
from lossviz.surface.grid import Index

Row = dict[str, Any]


class Watched(Pool):
    """A pool that remembers which points were given to whom, and when."""

    def __init__(self, address: str, security: Security, tend: Callable[[], str]) -> None:
        super().__init__(address, security, tend)
        self.given: list[tuple[float, str, Sequence[Index]]] = []

    def give(self, worker: str, function: Callable[..., bytes], *arguments: object) -> Ticket:
        """As a pool does."""
        if function.__name__ == "compute":
            self.given.append((time.monotonic(), worker, cast("list[Index]", arguments[1])))
        return super().give(worker, function, *arguments)


@dataclass
class Crowd:
    """All of them.

    Attributes:
        local: the scheduler.
        pool: the connection to it.
        folder: of the workers.
        scheduler: the number of its process.
        processes: with many workers each, and how many.
    """

    local: Local
    pool: Watched
    folder: str
    scheduler: int
    processes: list[tuple[subprocess.Popen[bytes], int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many workers were started."""
        return sum(count for _, count in self.processes)

    def add(self, counts: Sequence[int]) -> Row:
        """Start processes with so many workers; the seconds until all are there."""
        start, before = time.monotonic(), self.cpu()
        for count in counts:
            process = subprocess.Popen([sys.executable, "-m", "benchmarks.waiting"], stdin=subprocess.PIPE)
            assert process.stdin is not None
            told = {"address": self.local.address, "folder": self.folder, "count": count, "parent": os.getpid()}
            process.stdin.write(json.dumps({**told, "security": fields(self.local.security)}).encode() + b"\n")
            process.stdin.flush()
            self.processes.append((process, count))
        while len(self.pool.workers()) != self.count:
            time.sleep(0.1)
        return {"workers": self.count, "seconds": time.monotonic() - start, "cpu_s": self.since(before)}

    def idle(self, seconds: float) -> Row:
        """The cores that it takes to be there, while the client asks who is."""
        before, start = self.cpu(), time.monotonic()
        while time.monotonic() - start < seconds:
            self.pool.workers()
            time.sleep(0.1)
        return {name: value / (time.monotonic() - start) for name, value in self.since(before).items()}

    def cpu(self) -> dict[str, float]:
        """Seconds of processors that were taken so far."""
        workers = sum(_cpu(process.pid) for process, _ in self.processes if process.poll() is None)
        return {"client": time.process_time(), "scheduler": _cpu(self.scheduler), "workers": workers}

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Seconds of processors since then."""
        return {name: value - before[name] for name, value in self.cpu().items()}

    def size(self) -> Row:
        """Resident bytes, and open files."""
        found: Row = {}
        for name, number in (("client", os.getpid()), ("scheduler", self.scheduler)):
            resident = int(_process(number, "statm").split()[1]) * resource.getpagesize()
            found[name] = {"bytes": resident, "files": len(list(Path(f"/proc/{number}/fd").iterdir()))}
        return found


@contextmanager
def crowd() -> Iterator[Crowd]:
    """Without workers at first."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a scheduler needs three for each worker
    local = Local(0)
    local.start()
    with tempfile.TemporaryDirectory() as folder:
        pool = Watched(local.address, local.security, local.tend)
        scheduler = int(_process(os.getpid(), f"task/{os.getpid()}/children").split()[-1])
        found = Crowd(local, pool, folder, scheduler)
        try:
            yield found
        finally:
            for process, _ in found.processes:
                process.kill()
                process.wait()
            found.pool.close()
            local.close()


def crew(pool: Dealing, directions: bytes = b"") -> Crew:
    """Of a scan that asks for nothing but `loss`."""
    config = read("quickstart", only=["standard"])[0]
    job = Job(id=uuid.uuid4().hex, config=config, folder="", device="cpu", threads=1, allow=(), axes={}, attributes={})
    them = Crew(pool, lambda line: cast("None", sys.stderr.write(line + "\n")))
    them.assign(Assignment(job, directions, FACTS))
    return them


def results(them: Crew, points: Sequence[Index], said_s: float = 0.0) -> Iterator[Found]:
    """What is found at the points, which are said to take some seconds; nothing now and then."""

    def found(answer: Computed, _: bytes, block: list[Index]) -> Found:
        return answer.found(block, ["loss"])

    def seconds(found: Found) -> float:
        return said_s or sum(float(values["seconds"]) for values in found.values()) / len(found)

    kind = Kind(compute, lambda block: (block, b""), Computed, found, str, seconds)
    return (each or {} for each in them.each(kind, points))


def points(count: int, seconds: float) -> list[Index]:
    """Points that take some seconds each."""
    return [(k, round(1000 * seconds)) for k in range(count)]


def begin(there: Crowd, them: Crew) -> Row:
    """Until all workers have the job."""
    before, start = there.cpu(), time.monotonic()
    while them.ready < there.count:
        for _ in results(them, points(there.count, 0.1), said_s=60.0):  # so that longer ones are dealt one by one
            pass
    taken = time.monotonic() - start
    return {"seconds": taken, "cpu_s": there.since(before), "workers": there.count}


def scan(there: Crowd, them: Crew, count: int, seconds: float) -> Row:
    """A scan by workers that have the job. Efficiency: seconds of points by seconds of workers."""
    there.pool.given.clear()
    before, start, load = there.cpu(), time.monotonic(), os.getloadavg()[0]
    last, there_s, found = start, 0.0, 0
    for each in results(them, points(count, seconds)):
        found += sum(values["loss"] == loss(index) for index, values in each.items())
        if not each:
            now = time.monotonic()
            there_s, last = there_s + them.ready * (now - last), now
    assert found == count
    wall, tasks = time.monotonic() - start, len(there.pool.given)
    used = there.since(before)
    return {
        "workers": there.count,
        "seconds": seconds,
        "points": count,
        "tasks": tasks,
        "wall_s": wall,
        "efficiency": count * seconds / there_s,
        "ms_a_task": {name: 1000 * value / tasks for name, value in used.items()},
        "cores": {name: value / wall for name, value in used.items()},
        "load": load,
    }


def losses(there: Crowd, them: Crew, count: int, seconds: float, after_s: float) -> Row:
    """A scan in which the process before the last is killed and the last one is stopped: when is that noticed?"""
    there.pool.given.clear()
    victims = {"killed": there.processes[-2], "stopped": there.processes[-1]}
    noticed: dict[str, float] = {}
    start, at, expected, found = time.monotonic(), 0.0, there.count, 0
    for each in results(them, points(count, seconds)):
        found += len(each)
        now = time.monotonic()
        if not at and now - start > after_s:
            at = now
            victims["killed"][0].send_signal(signal.SIGKILL)
            victims["stopped"][0].send_signal(signal.SIGSTOP)
        elif at and not each:
            # The killed ones are noticed first.
            name = ("killed", "stopped")[min(len(noticed), 1)]
            if len(noticed) < 2 and len(them.members) <= expected - victims[name][1]:
                noticed[name], expected = now - at, expected - victims[name][1]
    assert found == count
    twice = again(there.pool.given)
    return {
        "noticed_s": noticed,
        "lost_points": len(twice),
        "given_again_s": [min(twice) - at, max(twice) - at] if twice else [],
        "retries": them.retries,
        "wall_s": time.monotonic() - start,
        "killed_at_s": at - start,
    }


def again(given: Sequence[tuple[float, str, Sequence[Index]]]) -> list[float]:
    """When points were given for a second time."""
    seen: set[Index] = set()
    times = []
    for when, _, block in given:
        times += [when for point in block if point in seen]
        seen.update(block)
    return times


def _cpu(number: int) -> float:
    """Seconds in the program and in the kernel, see proc(5), `stat`."""
    values = _process(number, "stat").rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def _process(number: int, name: str) -> str:
    return Path(f"/proc/{number}/{name}").read_text()
