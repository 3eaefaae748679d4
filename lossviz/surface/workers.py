"""How the points of a scan are handed to workers: one process, or several that torchrun started."""

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from lossviz.distributed.ranks import Ranks
from lossviz.errors import Refusal, WorkError
from lossviz.surface.file import Found, ScanFile
from lossviz.surface.grid import Index

# Saving takes some 20 ms: at most 1 % of the time, and a kill -9 costs two seconds of work.
SECONDS_BETWEEN_SAVES = 2.0
SECONDS_OF_PATIENCE = 60.0
# Near the end nobody should claim what the others could have done meanwhile.
SHARE_OF_THE_REST = 4


class Workers(Protocol):
    """Who computes which points. The numbers do not depend on it."""

    def claims(self, points: Sequence[Index]) -> Iterator[list[Index]]:
        """Which of some points, the same in all processes, are this one's to compute; some at a time."""

    def keep(self, found: Found) -> int:
        """Put away what was computed of a claim; returns how many points are known by now, to all processes."""

    def save(self) -> None:
        """Write what was kept to disk, before this process ends."""

    def finish(self) -> bool:
        """Collect these points in the result file; false while other processes are busy, then ask again."""


class Alone:
    """One process: every point goes into the grid, and the grid to disk from time to time."""

    def __init__(self, file: ScanFile) -> None:
        self.file = file
        self._saved_at = time.monotonic()

    def claims(self, points: Sequence[Index]) -> Iterator[list[Index]]:
        """One point after another."""
        yield from ([index] for index in points)

    def keep(self, found: Found) -> int:
        """Put the points into the grid."""
        self.file.put(found)
        if time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save()
        return self.file.grid.done

    def save(self) -> None:
        """Write the grid to disk."""
        self.file.save()
        self._saved_at = time.monotonic()

    def finish(self) -> bool:
        """No other process has to finish."""
        self.save()
        return True


class Together:
    """Several processes claim small blocks from a counter that they share, so that slow and fast ones finish together.

    Each finished block is a file of its own; the first process brings the files together at the end.
    """

    def __init__(self, file: ScanFile, ranks: Ranks) -> None:
        self.file, self.ranks = file, ranks
        self._todo: Sequence[Index] = ()
        self._done, self._stage = file.grid.done, 0
        self._store = ranks.store(file.purpose)
        self._seconds_a_point = 0.0
        self._complete_at: float | None = None

    def claims(self, points: Sequence[Index]) -> Iterator[list[Index]]:
        """Blocks that take as long as saving may be apart, smaller ones near the end."""
        self._done += len(self._todo)
        self._todo, self._stage = points, self._stage + 1
        self._complete_at, taken = None, 0
        while taken < len(self._todo):
            share = (len(self._todo) - taken) // (SHARE_OF_THE_REST * self.ranks.world)
            in_time = SECONDS_BETWEEN_SAVES / self._seconds_a_point if self._seconds_a_point else 1
            size = int(max(1, min(share, in_time)))
            taken = self._store.add(f"claimed {self._stage}", size)
            block = list(self._todo[taken - size : taken])
            if block:
                yield block

    def keep(self, found: Found) -> int:
        """Leave the block as a file."""
        if found:
            self._seconds_a_point = sum(float(values["seconds"]) for values in found.values()) / len(found)
            self.file.put(found)
            self.file.save_block(found)
        return self._done + int(self._store.add(f"done {self._stage}", len(found)))

    def save(self) -> None:
        """Every block is on disk already."""

    def finish(self) -> bool:
        """The first process takes all blocks into the result file."""
        if self._store.add(f"done {self._stage}", 0) < len(self._todo):
            return False
        if not self.ranks.first:
            return True
        self.file.gather()
        missing = set(self._todo) & set(self.file.grid.todo())
        if self._complete_at is None:
            self._complete_at = time.monotonic()
        # A shared folder may show a file later than its writer said so.
        if missing and time.monotonic() > self._complete_at + SECONDS_OF_PATIENCE:
            problem = f"{len(missing):,} points that were computed are not there"
            advice = "is the folder shared by all processes? the same command computes what is missing"
            raise WorkError(Refusal(str(self.file.run.folder), problem, advice=advice))
        return not missing


def workers_of(file: ScanFile, ranks: Ranks) -> Workers:
    """The workers of all processes that torchrun started, or of this process alone."""
    return Alone(file) if ranks.alone else Together(file, ranks)
