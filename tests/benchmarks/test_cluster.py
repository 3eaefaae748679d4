"""Workers that wait, by the real client: in a time of their own, and a few in two processes."""

import pytest

from benchmarks.cluster import paced, processes, work
from benchmarks.crowd import again, begin, crew, crowd, scan


def test_without_any_cost_no_worker_waits() -> None:
    """4 workers, 40 points of a second: ten seconds, and the first look for the job."""
    row = paced(workers=4, count=40, seconds=1.0, client_s=0.0, scheduler_s=0.0)
    assert row["wall_s"] == pytest.approx(10.0, abs=0.5)


def test_long_points_wait_for_workers_that_begin() -> None:
    """Eight of a minute by eight workers, of which the first is there before the others: none takes two."""
    row = paced(workers=8, count=8, seconds=60.0, client_s=0.002, scheduler_s=0.004)
    assert row["wall_s"] == pytest.approx(60.0, abs=1.0)


def test_a_slow_scheduler_is_the_limit() -> None:
    """64 tasks of one point each, of which the scheduler deals with one in a second."""
    row = paced(workers=64, count=64, seconds=0.1, client_s=0.0, scheduler_s=1.0)
    assert row["wall_s"] > 64
    assert row["efficiency"] < 0.1 / 64


def test_a_crowd_is_of_processes() -> None:
    assert processes(8, last=False) == [8]
    assert processes(1000 - 256, last=True) == [136] * 4 + [100, 100]
    assert sum(processes(744, last=False)) == 744
    assert work(8, 60.0) == 8
    assert work(8, 0.1) == 1600


def test_points_that_were_given_twice() -> None:
    assert again([(1.0, "a", [(0,), (1,)]), (2.0, "b", [(2,)]), (3.0, "b", [(1,)])]) == [3.0]


def test_a_few_real_ones() -> None:
    """In two processes; `scan` compares what they find."""
    with crowd() as there:
        there.add([2, 1])
        them = crew(there.pool)
        begin(there, them)
        row = scan(there, them, 12, 0.05)
    assert (row["points"], row["workers"], them.retries) == (12, 3, 0)
