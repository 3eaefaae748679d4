"""The scale of scans by workers without their machines: 1,000 that wait, one real scheduler, the real client.

python -m benchmarks.cluster [--workers 8 64 ...] [--out FILE] [--figure FILE]

The figure also has what the client's real code would reach if client, scheduler and workers each had a core: in a time
of its own, with the seconds of processors that a task took here. They depend less on what else a machine does.
"""

import argparse
import heapq
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import matplotlib.pyplot as plt

from benchmarks.crowd import Crowd, Row, begin, crew, crowd, losses, points, results, scan
from benchmarks.waiting import FACTS, loss
from lossviz.cluster.job import Begun, Computed
from lossviz.cluster.pool import Reply, Ticket
from lossviz.surface.grid import Index

WORKERS = (8, 64, 256, 1000)
# From long to short: what a crew knows of one is no mistake for the next.
SECONDS = (60.0, 10.0, 1.0, 0.1, 0.01)
# A point of a minute each would only show that there is one.
CURVES = (10.0, 1.0, 0.1, 0.01)
# Of work for each worker, but at least a point, and no more points than that in all.
SECONDS_OF_WORK, MOST_POINTS = 20.0, 60_000
# Workers in a process; the last two of the largest crowd are killed and stopped.
TOGETHER, VICTIMS = 136, 100
# The scan of the paper: 51 x 51 points of ResNet-56 on 50,000 images, at 116,000 images/s of a GPU.
PAPER_POINTS, PAPER_SECONDS = 51 * 51, 50_000 / 116_000


@dataclass
class Paced:
    """A pool in a time of its own: a client and a scheduler, which need some time for a task, and workers that wait.

    Attributes:
        count: of workers.
        client_s: of each task, half when it is given and half when its answer is read.
        scheduler_s: likewise, half on the way there and half on the way back.
    """

    count: int
    client_s: float
    scheduler_s: float
    clock: float = 0.0
    silent_s: float = 0.0
    last_words: str = ""
    tasks: int = 0
    _scheduler_free: float = 0.0
    _free: dict[str, float] = field(default_factory=dict)
    _events: list[tuple[float, int, str, Ticket, list[Index]]] = field(default_factory=list)

    def workers(self) -> list[str]:
        """Always the same."""
        return [str(number) for number in range(self.count)]

    def give(self, worker: str, function: Callable[..., bytes], *arguments: object) -> Ticket:
        """A task goes to the scheduler."""
        block = cast("list[Index]", arguments[1]) if function.__name__ == "compute" else []
        self.clock += self.client_s / 2
        self.tasks += 1
        ticket = Ticket(worker, str(self.tasks))
        heapq.heappush(self._events, (self.clock, self.tasks, "given", ticket, block))
        return ticket

    def replies(self, wait_s: float) -> list[Reply]:
        """What has come until now, else what comes first within some seconds."""
        found: list[Reply] = []
        until = self.clock + wait_s
        while self._events and self._events[0][0] <= (self.clock if found else until):
            when, number, what, ticket, block = heapq.heappop(self._events)
            if what == "back":
                self.clock = max(self.clock, when) + self.client_s / 2
                found.append(Reply(ticket, _answer(block)))
            elif what == "there":
                end = max(when, self._free.get(ticket.worker, 0.0)) + sum(block_s(block))
                self._free[ticket.worker] = end
                heapq.heappush(self._events, (end, number, "done", ticket, block))
            else:
                self._scheduler_free = max(self._scheduler_free, when) + self.scheduler_s / 2
                then = {"given": "there", "done": "back"}[what]
                heapq.heappush(self._events, (self._scheduler_free, number, then, ticket, block))
        if not found:
            self.clock = until
        return found

    def drop(self, ticket: Ticket) -> None:
        """Nobody dies here."""


def block_s(block: Sequence[Index]) -> list[float]:
    """The seconds that points take."""
    return [milliseconds / 1000 for _, milliseconds in block]


def _answer(block: list[Index]) -> bytes:
    if not block:
        return Begun(facts={**FACTS, "device": "waiting"}).encode()
    values = {index: {"loss": loss(index), "seconds": s} for index, s in zip(block, block_s(block), strict=True)}
    return Computed.of(values, [], {}).encode()


def paced(workers: int, count: int, seconds: float, client_s: float, scheduler_s: float) -> Row:
    """A scan in a time of its own; its beginning is counted."""
    pool = Paced(workers, client_s, scheduler_s)
    found = sum(len(each) for each in results(crew(pool), points(count, seconds)))
    assert found == count
    efficiency = count * seconds / (workers * pool.clock)
    return {"workers": workers, "seconds": seconds, "points": count, "wall_s": pool.clock, "efficiency": efficiency}


def work(workers: int, seconds: float, of_work: float = SECONDS_OF_WORK) -> int:
    """How many points keep some workers busy for a while."""
    return min(MOST_POINTS, round(workers * max(1.0, of_work / seconds)))


def measure(sizes: Sequence[int], seconds: Sequence[float], of_work: float = SECONDS_OF_WORK) -> Row:
    """Everything, from few workers to many."""
    found: Row = {"joined": [], "begun": [], "scans": [], "idle": [], "size": []}
    with crowd() as there:
        for size in sizes:
            found["joined"].append(there.add(processes(size - there.count, last=size == max(sizes))))
            found["idle"].append({"of": size, **there.idle(min(10.0, of_work))})
            them = crew(there.pool)
            found["begun"].append({"megabytes": 0, **begin(there, them)})
            for each in seconds:
                found["scans"].append(scan(there, them, work(size, each, of_work), each))
                say(found["scans"][-1])
            found["size"].append({"workers": size, **there.size()})
            if size in (64, max(sizes)):
                megabytes = 50 if size == 64 else 1
                found["begun"].append(
                    {"megabytes": megabytes, **begin(there, crew(there.pool, os.urandom(10**6 * megabytes)))}
                )
                say(found["begun"][-1])
        begin(there, them := crew(there.pool))
        found["losses"] = losses(there, them, *lost_work(there, of_work))
        say(found["losses"])
    return found


def lost_work(there: Crowd, of_work: float) -> tuple[int, float, float]:
    """Points, their seconds, and when workers are lost: the scan goes on until the last time-out."""
    return 7 * there.count, of_work, 0.75 * of_work


def processes(count: int, last: bool) -> list[int]:
    """How many workers each process has; the last two processes are for killing."""
    victims = [min(VICTIMS, count // 4)] * 2 if last else []
    rest = count - sum(victims)
    parts = -(-rest // TOGETHER)
    return [rest // parts + (k < rest % parts) for k in range(parts)] + victims


def say(row: Row) -> None:
    """A line while it goes."""
    sys.stderr.write(json.dumps(row) + "\n")


def curve(sizes: Sequence[int], seconds: Sequence[float], client_s: float, scheduler_s: float) -> list[Row]:
    """What would be reached if client, scheduler and workers each had a core."""
    return [paced(size, work(size, each), each, client_s, scheduler_s) for each in seconds for size in sizes]


def draw(curves: Sequence[Row], path: Path) -> None:
    """Efficiency against workers, a line for the seconds of a point."""
    figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    for each, marker in zip(sorted({row["seconds"] for row in curves}, reverse=True), "osv^D", strict=False):
        rows = [row for row in curves if row["seconds"] == each]
        efficiency = [100 * row["efficiency"] for row in rows]
        ax.plot([row["workers"] for row in rows], efficiency, marker=marker, label=f"{each:g} s a point")
    sizes = sorted({row["workers"] for row in curves})
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.set(xlabel="workers", ylabel="time that workers compute (%)", ylim=(0, 104))
    ax.legend(loc="lower left", frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, draw."""
    arguments = argparse.ArgumentParser(description="scans by many workers that wait")
    arguments.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("--figure", type=Path)
    chosen = arguments.parse_args()
    found = measure(sorted(chosen.workers), SECONDS)
    text = json.dumps(found, indent=1) + "\n"
    if chosen.out:
        chosen.out.write_text(text)
    sys.stdout.write(text)
    if chosen.figure:
        busy = [row["ms_a_task"] for row in found["scans"] if row["tasks"] > 1000]
        costs = [statistics.median(each[name] for each in busy) / 1000 for name in ("client", "scheduler")]
        draw(curve(sorted(chosen.workers), CURVES, *costs), chosen.figure)


if __name__ == "__main__":
    main()
