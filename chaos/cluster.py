"""Scans on a cluster whose parts die, stop, come late or do not fit: the same numbers as one process, or a refusal."""

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.ends import judge_end
from chaos.ledger import Row
from chaos.pieces import Pieces, lost, pieces, wrong
from chaos.processes import end_orphans
from chaos.stages import Stages
from chaos.stand import COMMAND, Stand, TooLateError
from lossviz.cluster.pool import TIME_OUT_S
from tests.faults.launch import ROOT, Lossviz

# From a fault on: two time-outs, and what is left of the scan on a busy machine.
SECONDS_TO_END = 2 * TIME_OUT_S + 180
STOPPED_S = TIME_OUT_S + 10
# So many scans may have ended before they were disturbed, for each that is.
MOST_LATE = 4

WORKER, SCHEDULER = "lossviz.cluster.worker_process", "lossviz.cluster.scheduler"
DASK_WORKER, DASK_SCHEDULER = "distributed.cli.dask_worker", "distributed.cli.dask_scheduler"
LOCAL = ("--workers", "3")


@dataclass(frozen=True)
class Fault:
    """Something that happens to a scan.

    Attributes:
        name: for the table.
        act: starts the command, and does it.
        statuses: with which the command may end.
        says: what it must say, where it does not end as if nothing had been.
    """

    name: str
    act: Callable[[Stand], None]
    statuses: Sequence[int] = (0,)
    says: str = ""


def _worker_dies(stand: Stand) -> None:
    stand.start(LOCAL)
    stand.wait_for_points()
    os.kill(stand.one_of(WORKER), signal.SIGKILL)


def _worker_dies_early(stand: Stand) -> None:
    stand.start(LOCAL)
    stand.wait(lambda: len(stand.ours(WORKER)) == 3)
    time.sleep(stand.chance.uniform(0, 5))
    os.kill(stand.one_of(WORKER), signal.SIGKILL)


def _worker_sleeps(stand: Stand) -> None:
    stand.start(LOCAL)
    stand.wait_for_points()
    sleeper = stand.one_of(WORKER)
    os.kill(sleeper, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    with contextlib.suppress(ProcessLookupError):
        os.kill(sleeper, signal.SIGCONT)


def _client(number: signal.Signals) -> Callable[[Stand], None]:
    def act(stand: Stand) -> None:
        stand.start(LOCAL)
        stand.wait_for_points()
        assert stand.lossviz is not None
        stand.lossviz.send(number)

    return act


def _client_sleeps(stand: Stand) -> None:
    stand.start(LOCAL)
    stand.wait_for_points()
    assert stand.lossviz is not None
    stand.lossviz.send(signal.SIGSTOP)
    time.sleep(STOPPED_S)
    stand.lossviz.send(signal.SIGCONT)


def _scheduler_dies(stand: Stand) -> None:
    stand.start(LOCAL)
    stand.wait_for_points()
    os.kill(stand.one_of(SCHEDULER), signal.SIGKILL)


def _disk_fills(stand: Stand) -> None:
    # By then the directions and the empty file are written; points are saved every two seconds.
    stand.start(LOCAL, full_at=stand.chance.randrange(9, 14))


def _joins(stand: Stand) -> None:
    _on_a_cluster(stand, 1)
    stand.wait_for_points()
    (first,) = stand.ours(DASK_WORKER)
    stand.worker()
    stand.wait(lambda: len(stand.ours(DASK_WORKER)) == 2)
    time.sleep(stand.chance.uniform(0, 8))
    os.kill(first, signal.SIGKILL)


def _their_scheduler_dies(stand: Stand) -> None:
    _on_a_cluster(stand, 2)
    stand.wait_for_points()
    os.kill(stand.one_of(DASK_SCHEDULER), signal.SIGKILL)


def _another_version(stand: Stand) -> None:
    copy = stand.folder / "another"
    shutil.copytree(ROOT / "lossviz", copy / "lossviz", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", copy / "configs")
    (copy / "lossviz" / "_version.py").write_text('"""Another version."""\n\n__version__ = "9.9"\n', encoding="utf-8")
    _on_a_cluster(stand, 1, copy)


def _another_checkpoint(stand: Stand) -> None:
    elsewhere = stand.folder / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(stand.folder / "tiny.yaml", elsewhere)
    trained = Lossviz(["train", "tiny.yaml", "--variant", "a", "--set", "train.lr=0.03"], elsewhere)
    assert trained.wait() == 0
    _on_a_cluster(stand, 1)  # one that fits, so that the scan goes on
    stand.worker(elsewhere)


def _on_a_cluster(stand: Stand, workers: int, package: Path = ROOT) -> None:
    stand.scheduler()
    for _ in range(workers):
        stand.worker(package=package)
    stand.start(("--scheduler", stand.address))


FAULTS = (
    Fault("kill -9 of a worker", _worker_dies),
    Fault("kill -9 of a worker that begins", _worker_dies_early),
    Fault("a worker sleeps for longer than the time-out", _worker_sleeps),
    Fault("kill -9 of the command", _client(signal.SIGKILL), (-signal.SIGKILL,)),
    Fault("SIGTERM of the command", _client(signal.SIGTERM), (143,), "the same command resumes"),
    Fault("SIGINT of the command", _client(signal.SIGINT), (130,), "the same command resumes"),
    Fault("the command sleeps for longer than the time-out", _client_sleeps, (0, 1)),
    Fault("kill -9 of the scheduler", _scheduler_dies, (1,), "the same command resumes"),
    Fault("the disk is full", _disk_fills, (1,), "cannot be written: No space left on device"),
    Fault("`--scheduler`: a worker joins, the first is killed", _joins),
    Fault("`--scheduler`: kill -9 of the scheduler", _their_scheduler_dies, (1,), "the same command resumes"),
    Fault("`--scheduler`: only a worker of another version", _another_version, (2,), "its lossviz is 9.9, and not"),
    Fault("`--scheduler`: one worker of two has another checkpoint", _another_checkpoint, (0,), "gets no points: "),
)


def disturb(fault: Fault, rounds: int, stages: Stages, chance: random.Random) -> Row:
    """Let something happen to a scan some times; then let the same command finish, and compare with one process."""
    row = Row("lossviz surface --workers", fault.name)
    expected = _alone(stages)
    while row.rounds < rounds and row.late < MOST_LATE * rounds:
        stand = Stand(stages.copy("trained"), chance)
        try:
            _round(stand, fault, expected, row)
        finally:
            end_orphans(-1, stand.mark, 0)  # nothing outlives the suite, whatever ends it
            shutil.rmtree(stand.folder)
    return row


def _round(stand: Stand, fault: Fault, expected: Pieces, row: Row) -> None:
    try:
        fault.act(stand)
        row.rounds += 1
    except TooLateError:
        row.late += 1
        fault = Fault(fault.name, fault.act)  # then it ends as if nothing had been
    status = _end(stand, fault, row)
    before = pieces(stand.folder / "runs")
    row.note("wrong", wrong(before, expected))
    if status != 0:
        stand.start(LOCAL)
        _end(stand, Fault(f"{fault.name}, again", fault.act), row)
    found = pieces(stand.folder / "runs")
    row.note("wrong", wrong(found, expected))
    row.note("lost", lost(found, expected | before))


def _alone(stages: Stages) -> Pieces:
    """What one process with one thread computes."""
    folder = stages.copy("trained")
    lossviz = Lossviz(COMMAND, folder)
    lossviz.process.join(SECONDS_TO_END)
    assert lossviz.process.exitcode == 0, lossviz.err
    found = pieces(folder / "runs")
    shutil.rmtree(folder)
    return found


def _end(stand: Stand, fault: Fault, row: Row) -> int | None:
    lossviz = stand.lossviz
    assert lossviz is not None
    status = judge_end(row, lossviz, SECONDS_TO_END, fault.statuses, fault.says)
    for process in [*stand.ours(DASK_WORKER), *stand.ours(DASK_SCHEDULER)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)  # a person's own cluster outlives the command
    row.note("orphans", end_orphans(lossviz.process.pid or 0, stand.mark))
    return status
