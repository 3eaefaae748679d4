"""The result file of a scan while it grows, under one process or several that share the points."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress

import numpy as np
import xarray as xr

from lossviz.engine.ranks import Ranks
from lossviz.errors import WorkError
from lossviz.results import in_units, load_results, save_results, variable
from lossviz.run import Run
from lossviz.signals import StopRequest
from lossviz.surface.grid import QUANTITIES, Grid
from lossviz.surface.order import Index

# Saving takes some 20 ms: at most 1 % of the time, and a kill -9 costs two seconds of work.
SECONDS_BETWEEN_SAVES = 2.0
SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_OF_PATIENCE = 60.0
# Near the end nobody should claim what the others could have done meanwhile.
SHARE_OF_THE_REST = 4

Found = Mapping[Index, Mapping[str, float]]


class Ledger:
    """Hands out the points that are to do, and keeps what was found.

    One process puts every point into the grid, and the grid to disk from time to time. Several processes claim small
    blocks from a counter that they share, so that slow and fast ones finish together, and leave each finished
    block as a file of its own; the first of them brings the files together at the end. Values do not depend on it.

    Args:
        run: whose folder holds the files.
        name: of the scan.
        grid: the points; known ones are not handed out.
        attributes: of the result file.
        waypoints: variables that the result file has beside the grid.
        ranks: the processes.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        grid: Grid,
        attributes: Mapping[str, str | int | float],
        waypoints: xr.Dataset,
        ranks: Ranks,
    ) -> None:
        self.run, self.name, self.grid, self.ranks = run, name, grid, ranks
        self.attributes, self.waypoints = attributes, waypoints
        self._todo = grid.todo()
        self._store = None if ranks.alone else ranks.store(f"{run.folder}/{name}")
        self._seconds_a_point = 0.0
        self._saved_at = time.monotonic()

    def claims(self) -> Iterator[list[Index]]:
        """The points that are this process's to compute, some at a time."""
        if self._store is None:
            yield from ([index] for index in self._todo)
            return
        taken = 0
        while taken < len(self._todo):
            few = (len(self._todo) - taken) // (SHARE_OF_THE_REST * self.ranks.world)
            gladly = SECONDS_BETWEEN_SAVES / self._seconds_a_point if self._seconds_a_point else 1
            size = int(max(1, min(few, gladly)))
            taken = self._store.add("claimed", size)
            block = self._todo[taken - size : taken]
            if block:
                yield block

    def keep(self, found: Found, *, stopping: bool) -> int:
        """Put away what was computed of a claim; returns how many points are known by now, to all processes."""
        for index, values in found.items():
            self.grid.put(index, values)
        if self._store is None:
            if stopping or time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES:
                self.save()
            return self.grid.done
        if found:
            self._seconds_a_point = sum(values["seconds"] for values in found.values()) / len(found)
            save_results(self.run.block_file(self.name, self._flat(next(iter(found)))), self._block(found))
        return self.grid.status.size - len(self._todo) + int(self._store.add("done", len(found)))

    def finish(self, stop: StopRequest) -> None:
        """Bring everything together in the result file, once all processes are through."""
        if self._store is not None:
            while self._store.add("done", 0) < len(self._todo):
                stop.obey()
                time.sleep(SECONDS_BETWEEN_LOOKS)
        if not self.ranks.first:
            return
        self.gather()
        # A shared folder may show a file later than its writer said so.
        patience = time.monotonic() + SECONDS_OF_PATIENCE
        while self._todo:
            stop.obey()
            if time.monotonic() > patience:
                raise WorkError(
                    f"{self.run.folder}: {len(self._todo):,} points that were computed are not there\n"
                    "  is the folder shared by all processes? the same command computes what is missing"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.gather()

    def gather(self) -> None:
        """Take the blocks that are there into the result file; also those that a killed command left."""
        blocks = self.run.block_files(self.name)
        for path in blocks:
            self._take(load_results(path))
        self.save()
        for path in blocks:
            path.unlink()
        if blocks:
            with suppress(OSError):  # somebody's own file in it
                blocks[0].parent.rmdir()
        self._todo = self.grid.todo()

    def save(self) -> None:
        """Write the result file."""
        save_results(self.run.surface_file(self.name), self.dataset())
        self._saved_at = time.monotonic()

    def dataset(self) -> xr.Dataset:
        """What is known by now."""
        return in_units(self.grid.dataset(self.attributes).merge(self.waypoints))

    def _flat(self, index: Index) -> int:
        return int(np.ravel_multi_index(index, self.grid.status.shape))

    def _block(self, found: Found) -> xr.Dataset:
        table = {name: [values[name] for values in found.values()] for name in self.grid.values}
        points = {
            "point": variable("point", [self._flat(index) for index in found], "row-major place in the grid", "1")
        }
        return xr.Dataset(
            {name: variable("point", values, *QUANTITIES[name]) for name, values in table.items()}, coords=points
        )

    def _take(self, block: xr.Dataset) -> None:
        for flat in block.point.values:
            index = tuple(int(i) for i in np.unravel_index(flat, self.grid.status.shape))
            self.grid.put(index, {name: float(block[name].sel(point=flat)) for name in self.grid.values})
