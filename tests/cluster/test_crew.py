"""Who computes what: every point once, whoever comes, dies or sleeps."""

import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from lossviz.cluster.crew import LOSSES
from lossviz.cluster.job import Computed
from lossviz.cluster.pool import TIME_OUT_S, Reply
from lossviz.errors import WorkError
from lossviz.surface.grid import Index
from tests.cluster.simulated import POINTS, RIGHT, Simulated, all_of, computed, results


@pytest.mark.parametrize("count", [1, 2, 7, 100])
@pytest.mark.parametrize("speed", [1e-4, 0.4, 100.0])
def test_every_point_once(count: int, speed: float) -> None:
    pool = Simulated({f"w{i}": [] for i in range(count)}, speed=speed)
    assert all_of(pool) == RIGHT
    computed_points = Counter(index for _, function, block in pool.given if function == "compute" for index in block)
    assert set(computed_points.values()) == {1}


@pytest.mark.parametrize("seed", range(20))
def test_every_point_once_whatever_happens(seed: int) -> None:
    """Workers die, join, sleep until they are given up, and answer after that; connections are lost."""
    draws = np.random.default_rng(seed)
    pool = Simulated({"w0": [], "w1": []}, speed=float(draws.choice([0.01, 0.7])))

    def chaos() -> None:
        names = list(pool.there)
        event = draws.integers(8)
        if event == 0 and len(names) > 1:
            del pool.there[names[draws.integers(len(names))]]
        elif event == 1:
            pool.there[f"late{len(pool.given)}-{pool.clock:.1f}"] = []
        elif event == 2 and names:
            pool.asleep.add(names[0])
        elif event == 3 and len(names) > 1 and names[0] in pool.asleep:  # the scheduler gave it up; it wakes up
            for ticket, _, points in pool.there.pop(names[0]):
                pool.late.append(Reply(ticket, computed(points)))
        elif event == 4:
            pool.asleep.clear()

    pool.before = chaos
    assert all_of(pool) == RIGHT


def test_tasks_take_a_second_or_two_and_are_small_near_the_end() -> None:
    """Of two workers no task is more than an eighth of the rest; two are on the way until the rest is small."""
    points: list[Index] = [(i, j) for i in range(40) for j in range(50)]
    pool = Simulated({"w0": [], "w1": []}, speed=0.01)
    open_tasks = []
    pool.before = lambda: open_tasks.append([len(tasks) for tasks in pool.there.values()])
    assert len(all_of(pool, points)) == 2000
    sizes = [len(block) for _, function, block in pool.given if function == "compute"]
    assert sizes[0] == 1  # nothing is known of its cost
    assert max(sizes) == 150
    left = 2000
    for size in sizes:
        assert size <= max(1, left // 8)
        left -= size
    assert max(map(max, open_tasks)) == 2
    assert max(open_tasks[-1]) == 1


def test_many_workers_may_lose_their_beginnings() -> None:
    """Of 40 every second one loses it once, and no point is finished meanwhile."""
    lost: set[str] = set()

    def answers(name: str, function: str, _: list[Index]) -> bytes | None:
        if function == "compute" or int(name[1:]) % 2 or name in lost:
            return b""
        lost.add(name)
        return None

    assert all_of(Simulated({f"w{i}": [] for i in range(40)}, answers=answers)) == RIGHT
    assert len(lost) == 20


def test_many_workers_have_no_smaller_tasks_than_the_scheduler_can_deal_with() -> None:
    """500 workers and 0.1 s a point: tasks of less than 22 points would come faster than one in 4.5 ms."""
    pool = Simulated({f"w{i}": [] for i in range(500)}, speed=0.1)
    points: list[Index] = [(0, j) for j in range(15_000)]
    assert sum(len(each) for each in results(pool, points, most=500)) == 15_000
    sizes = [len(block) for _, function, block in pool.given if function == "compute"]
    assert set(sizes[-100:-1]) == {22}


def test_who_comes_late_gets_points_at_once() -> None:
    pool = Simulated({"w0": []}, speed=0.5)
    found = results(pool, POINTS)
    list(islice(found, 12))
    pool.there["late"] = []
    list(islice(found, 6))
    assert ("late", "begin", []) in pool.given
    assert any(name == "late" and block for name, _, block in pool.given)
    list(found)


def test_a_worker_that_was_started_again_begins_again() -> None:
    forgot = iter([True])

    def answers(_: str, function: str, __: list[Index]) -> bytes:
        return Computed(has_job=False).encode() if function == "compute" and next(forgot, False) else b""

    pool = Simulated({"a": []}, answers=answers)
    assert all_of(pool) == RIGHT
    assert sum(function == "begin" for _, function, _ in pool.given) == 2


def test_a_point_that_ends_every_worker_is_named_after_all_others_are_found() -> None:
    """It may be too large for their memory."""
    pool = Simulated({"w0": [], "w1": []}, speed=5.0)
    deaths = Counter[str]()

    def chaos() -> None:
        for name, tasks in list(pool.there.items()):
            if tasks and (2, 2) in tasks[0][2]:
                del pool.there[name]
                deaths[name] += 1
                pool.there[f"w{len(deaths) + 1}"] = []

    pool.before = chaos
    found: dict[Index, float] = {}
    with pytest.raises(WorkError, match=rf"the point \(2, 2\): was lost {LOSSES} times with its worker"):
        for each in results(pool, POINTS):
            found |= {index: float(values["loss"]) for index, values in each.items()}
    assert found == {index: value for index, value in RIGHT.items() if index != (2, 2)}
    assert deaths.total() >= LOSSES


def test_a_job_that_ends_every_worker_is_named() -> None:
    pool = Simulated({"w0": []})

    def chaos() -> None:
        pool.there = {f"w{pool.clock:.1f}": []}

    pool.before, pool.last_words = chaos, "worker 1 has ended: signal SIGKILL"
    with pytest.raises(WorkError, match=r"(?s)the beginning of the job: was lost 3 times.*worker 1 has ended: signal"):
        all_of(pool)


@pytest.mark.parametrize("after", [0, 3])
def test_without_workers_it_waits_says_so_and_ends(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    pool, said = Simulated({"a": []} if after else {}), list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: pool.clock)
    if after:
        pool.before = lambda: pool.there.clear() if pool.clock > after else None
    with pytest.raises(WorkError, match=f"no worker for {2 * TIME_OUT_S:.0f} seconds"):
        all_of(pool, said=said)
    assert 2 * TIME_OUT_S - 1 <= pool.clock - after <= 2 * TIME_OUT_S + 1
    assert said == ["waiting for a worker"] * 3


def test_a_scheduler_that_owes_an_answer_is_told_from_one_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then it has been asked for a little less long than there has been no worker."""
    pool, said = Simulated(silent_s=10.0), list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: pool.clock)
    with pytest.raises(WorkError, match="no worker for"):
        all_of(pool, said=said)
    assert said == ["the scheduler does not answer, waiting for it"] * 3


def test_large_directions_are_not_sent_to_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossviz.cluster.crew.BYTES_ON_THE_WAY", 25)  # they are 10
    pool = Simulated({f"w{i}": [] for i in range(9)})
    on_the_way = []
    pool.before = lambda: on_the_way.append(sum(f == "begin" for tasks in pool.there.values() for _, f, _ in tasks))
    assert all_of(pool) == RIGHT
    assert max(on_the_way) == 2


def test_no_more_workers_begin_than_are_needed() -> None:
    """What is decided once is decided by one of them; if that one goes, by another."""
    pool = Simulated({f"w{i}": [] for i in range(5)})

    def chaos() -> None:
        if pool.clock > 0.5:
            pool.there.pop("w0", None)

    pool.before = chaos
    found = [index for each in results(pool, POINTS, most=1) for index in each]
    assert sorted(found) == POINTS
    assert [name for name, function, _ in pool.given if function == "begin"] == ["w0", "w1"]
    assert {name for name, function, _ in pool.given if function == "compute"} == {"w0", "w1"}


def test_the_task_of_a_worker_that_hangs_is_done_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and never answers: its disk has gone. What it says much later is not heard."""
    pool = Simulated({"good": [], "hangs": []}, speed=1.0)
    monkeypatch.setattr(time, "monotonic", lambda: pool.clock)

    def chaos() -> None:
        if pool.clock > 1:
            pool.asleep.add("hangs")

    pool.before = chaos
    assert all_of(pool) == RIGHT
    assert TIME_OUT_S < pool.clock < 2 * TIME_OUT_S
    assert [ticket.worker for ticket in pool.dropped] == ["hangs", "hangs"]
