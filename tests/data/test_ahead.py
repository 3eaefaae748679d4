"""Work ahead of its time: what is started, what is cancelled, and that threads begin nothing that nobody wants."""

import os
from threading import Event

import pytest

from lossviz.data.ahead import ROWS, Ahead, Filling, automatic_workers


class Job:
    """Something under way that remembers whether it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def jobs() -> dict[int, Job]:
    return {}


@pytest.fixture
def ahead(jobs: dict[int, Job]) -> Ahead[Job]:
    def start(number: int) -> Job:
        assert number not in jobs or jobs[number].cancelled
        jobs[number] = Job()
        return jobs[number]

    return Ahead(start, depth=2, end=10)


def under_way(jobs: dict[int, Job]) -> list[int]:
    return sorted(number for number, job in jobs.items() if not job.cancelled)


def test_a_few_are_started_on_the_way_and_those_behind_cancelled(ahead: Ahead[Job], jobs: dict[int, Job]) -> None:
    for number, expected in ((0, [0, 1, 2]), (0, [0, 1, 2]), (1, [1, 2, 3]), (8, [8, 9]), (3, [3, 4, 5])):
        assert ahead(number) is jobs[number]
        assert under_way(jobs) == expected


def test_whoever_drops_it_wants_no_more(jobs: dict[int, Job]) -> None:
    def start(number: int) -> Job:
        jobs[number] = Job()
        return jobs[number]

    ahead = Ahead(start, depth=2, end=10)
    ahead(4)
    assert under_way(jobs) == [4, 5, 6]
    del ahead
    assert under_way(jobs) == []


def test_threads_begin_no_row_of_what_was_cancelled() -> None:
    """The only thread is held in the first part; the second one waits for it."""
    begun, go_on, filled = Event(), Event(), []

    def fill(row: int) -> None:
        begun.set()
        assert go_on.wait(10)
        filled.append(row)

    filling = Filling(fill, 2 * ROWS, workers=1)
    assert begun.wait(10)
    filling.cancel()
    go_on.set()
    # The thread takes jobs in their order: after this one, all before it are over.
    Filling(filled.append, 1, workers=1).wait()
    assert filled == [*range(ROWS), 0]


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 1), (9, 8), (64, 8)])
def test_automatic_workers(monkeypatch: pytest.MonkeyPatch, cores: int, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert automatic_workers() == expected


@pytest.mark.parametrize(("processes", "expected"), [("1", 8), ("4", 3), ("15", 1), ("16", 1)])
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, processes: str, expected: int) -> None:
    """As torchrun says; each of them decodes ahead, unless there is one core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert automatic_workers() == expected
