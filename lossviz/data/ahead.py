"""Batches that threads fill before they are asked for.

Threads, not processes: decoding and resizing run outside of Python's lock, which an image holds for some 0.07 ms, so
that threads are as fast as a DataLoader's processes up to more cores than `auto` uses; and they start at once, see
every signal through the main thread, and end with it.
"""

import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache, partial
from queue import SimpleQueue
from threading import Thread
from typing import Generic, Protocol, TypeVar

# So that a thread that ends a batch finds work in the next one while the main thread still waits for the slowest.
BATCHES_AHEAD = 2
MOST_WORKERS = 8
# Rows that a thread takes at once: few enough to share a batch out evenly, enough to hide the cost of asking.
ROWS = 8


def automatic_workers() -> int:
    """This process's share of all cores but one, at most 8; torchrun says how many processes share them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    share = (cores - 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(share, min(cores - 1, 1)), MOST_WORKERS)


class Filling:
    """Rows that are being filled by threads or, without workers, by the caller that waits for them.

    Args:
        fill: fills one row.
        rows: how many.
        workers: number of threads.
    """

    def __init__(self, fill: Callable[[int], None], rows: int, workers: int) -> None:
        parts = [range(start, min(start + ROWS, rows)) for start in range(0, rows, ROWS)]
        self._left: Sequence[range] = () if workers else parts
        self._futures: list[Future[None]] = []
        self._fill = fill
        if workers:
            self._futures = [_threads(workers).submit(partial(self._fill_part, part)) for part in parts]

    def wait(self) -> None:
        """Return when all are filled; raises what filling the first bad row raised."""
        for part in self._left:
            self._fill_part(part)
        self._left = ()
        for future in self._futures:
            future.result()

    def cancel(self) -> None:
        """Begin no more rows."""
        for future in self._futures:
            future.cancel()

    def _fill_part(self, part: range) -> None:
        for row in part:
            self._fill(row)


class Started(Protocol):
    """Something under way."""

    def cancel(self) -> None:
        """Its result is no longer needed."""


T = TypeVar("T", bound=Started)


class Ahead(Generic[T]):
    """Items by number, mostly asked for in order: the next ones are started ahead of time.

    Args:
        start: starts one.
        depth: how many after the present one.
        end: the first number that there is not.
    """

    def __init__(self, start: Callable[[int], T], depth: int, end: int) -> None:
        self._start = start
        self._depth = depth
        self._end = end
        self._started: dict[int, T] = {}
        # When this is dropped, its work is no longer needed.
        weakref.finalize(self, _cancel, self._started)

    def __call__(self, number: int) -> T:
        """The one with a number, started perhaps long ago; kept until another number is asked for."""
        window = range(number, min(number + 1 + self._depth, self._end))
        _cancel({each: self._started.pop(each) for each in set(self._started) - set(window)})
        for each in window:
            if each not in self._started:
                self._started[each] = self._start(each)
        return self._started[number]


def _cancel(started: dict[int, T]) -> None:
    for each in started.values():
        each.cancel()


@cache
def _threads(workers: int) -> "Threads":
    return Threads(workers)


class Threads:
    """Threads that end with the process; those of concurrent.futures would first finish all jobs."""

    def __init__(self, workers: int) -> None:
        self._jobs: SimpleQueue[tuple[Future[None], Callable[[], None]]] = SimpleQueue()
        for _ in range(workers):
            Thread(target=self._work, name="lossviz-decode", daemon=True).start()

    def submit(self, job: Callable[[], None]) -> Future[None]:
        """Have a job done in its turn."""
        future: Future[None] = Future()
        self._jobs.put((future, job))
        return future

    def _work(self) -> None:
        while True:
            future, job = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    job()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(None)
            del future, job  # a waiting thread must not keep a batch in memory
