"""Signals at random times: whatever ends a command, the same command again finishes it with the same numbers."""

import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.ends import judge_end
from chaos.ledger import Row
from chaos.pieces import Pieces, lost, pieces, wrong
from chaos.processes import end_orphans
from chaos.stages import ONE, OTHER, RUN, SAMPLED, Stages, settings
from tests.faults.launch import Lossviz

# The commands take a second or two; ten times that on a machine with other work.
SECONDS_TO_END = 60.0
# What a shell sees: a signal that lossviz handles is 128 + its number; before it can, the signal itself ends Python.
ENDS = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {128 + signal.SIGTERM, -signal.SIGTERM},
    signal.SIGINT: {128 + signal.SIGINT, -signal.SIGINT},
}
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Victim:
    """A command that is disturbed.

    Attributes:
        name: for the table.
        stage: what it finds.
        arguments: of the command line.
    """

    name: str
    stage: str
    arguments: Sequence[str]


VICTIMS = (
    Victim("train", "new", ["train", "tiny.yaml", *ONE]),
    Victim("probe, along a training", "new", ["probe", "tiny.yaml", *ONE]),
    Victim("probe, in a replay", "trained", ["probe", "tiny.yaml", *ONE]),
    Victim("probe, at checkpoints", "trained", ["probe", RUN]),
    Victim("surface", "trained", ["surface", RUN, *settings("surface.x=[-1, 1, 7]", "surface.y=[-1, 1, 6]")]),
    Victim("surface, pca", "scanning", ["surface", RUN, *settings(*OTHER)]),
    Victim("surface, sampled", "trained", ["surface", RUN, *settings(*SAMPLED)]),
    Victim("plot", "measured", ["plot", "runs/tiny", "--figure", "training", "--figure", "surface", "--format", "png"]),
)


@dataclass(frozen=True)
class Untouched:
    """A command that nobody disturbed.

    Attributes:
        pieces: what is in its folder afterwards.
        seconds: how long it took.
    """

    pieces: Pieces
    seconds: float


def untouched(victim: Victim, stages: Stages, fresh: bool = False) -> Untouched:
    """Run a command to its end in a copy of its stage."""
    folder = stages.copy(victim.stage)
    started = time.monotonic()
    lossviz = Lossviz(victim.arguments, folder, fresh=fresh)
    assert lossviz.wait() == 0, lossviz.err
    found = Untouched(pieces(folder / "runs"), time.monotonic() - started)
    shutil.rmtree(folder)
    return found


def kill(victim: Victim, kills: int, stages: Stages, chance: random.Random, fresh: bool = False) -> Row:
    """Kill a command until so many signals met it, always going on with the same command, and compare.

    Args:
        victim: the command.
        kills: signals that are to meet it while it runs.
        stages: where it starts.
        chance: decides when, and which signal.
        fresh: a new Python each time.
    """
    row = Row(f"lossviz {victim.name}", "kill -9, SIGTERM, SIGINT" + (", a new Python" if fresh else ""))
    expected = untouched(victim, stages, fresh)
    seconds = expected.seconds
    while row.rounds < kills:
        folder, known, finished = stages.copy(victim.stage), Pieces(), False
        while not finished and row.rounds < kills:
            started = time.monotonic()
            finished = _signal(victim, folder, chance.uniform(0, seconds), chance.choice(SIGNALS), fresh, row)
            # Signals that come too late disturb nobody: other work on the machine may have ended since the first time.
            seconds = min(seconds, time.monotonic() - started) if finished else seconds
            known = _look(folder, known, expected, row)
        if not finished:
            _end(Lossviz(victim.arguments, folder, fresh=fresh), {0}, row)
        found = pieces(folder / "runs")
        row.note("wrong", wrong(found, expected.pieces))
        row.note("lost", lost(found, expected.pieces))
        row.note("lost", (f"{path} is left over" for path in folder.rglob(".*.partial") if "figures" not in path.parts))
        shutil.rmtree(folder)
    return row


def _signal(victim: Victim, folder: Path, after: float, number: signal.Signals, fresh: bool, row: Row) -> bool:
    """Send one signal some seconds after the beginning; whether the command had finished before."""
    lossviz = Lossviz(victim.arguments, folder, fresh=fresh)
    lossviz.wait_until(lossviz.out_file.exists)
    until = time.monotonic() + after
    lossviz.wait_until(lambda: time.monotonic() > until)
    lossviz.send(number)
    status = _end(lossviz, {0, *ENDS[number]}, row)
    row.rounds += status != 0
    row.late += status == 0
    return status == 0


def _end(lossviz: Lossviz, statuses: set[int], row: Row) -> int | None:
    status = judge_end(row, lossviz, SECONDS_TO_END, statuses)
    row.note("orphans", end_orphans(lossviz.process.pid or 0))
    return status


def _look(folder: Path, known: Pieces, expected: Untouched, row: Row) -> Pieces:
    """What is there between two commands: whole, a part of the untouched run, and all that was there before."""
    found = pieces(folder / "runs")
    row.note("wrong", wrong(found, expected.pieces))
    row.note("lost", lost(found, known))
    return {name: value for name, value in found.items() if name in expected.pieces}
