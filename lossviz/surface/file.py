"""The result file of a scan while it grows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from lossviz.results import in_units, load_results, save_results
from lossviz.run import Run
from lossviz.surface.grid import Grid, Index, Quantities

Attributes = dict[str, str | int | float]
Found = Mapping[Index, Quantities]


@dataclass
class ScanFile:
    """The results of a scan so far, in memory and on disk.

    Attributes:
        run: whose folder holds the files.
        name: of the scan.
        grid: the points.
        attributes: of the result file.
        waypoints: variables that it has beside the grid.
    """

    run: Run
    name: str
    grid: Grid
    attributes: Attributes = field(default_factory=dict)
    waypoints: xr.Dataset = field(default_factory=xr.Dataset)

    @classmethod
    def load(cls, run: Run, name: str) -> "ScanFile":
        """The file that is on disk, as it is."""
        saved = load_results(run.surface_file(name))
        waypoints = saved[[str(each) for each in saved.variables if str(each).startswith("checkpoint")]]
        return cls(run, name, Grid.of(saved), dict(saved.attrs), waypoints)

    @property
    def path(self) -> Path:
        """The result file."""
        return self.run.surface_file(self.name)

    @property
    def moved(self) -> set[str]:
        """Names of the tensors that the directions may move."""
        return set(str(self.attributes["moved"]).split("\n"))

    def put(self, found: Found) -> None:
        """Record points."""
        for index, values in found.items():
            self.grid.put(index, values)

    def dataset(self) -> xr.Dataset:
        """The results so far."""
        return in_units(self.grid.dataset(self.attributes).merge(self.waypoints))

    def save(self) -> None:
        """Write the result file."""
        save_results(self.path, self.dataset())

    def gather(self) -> None:
        """Take the blocks into the result file that processes of lossviz 0.1 under torchrun left beside it."""
        blocks = self.run.block_files(self.name)
        for path in blocks:
            block = load_results(path)
            for flat in block.point.values:
                index = tuple(int(i) for i in np.unravel_index(flat, self.grid.status.shape))
                self.grid.put(index, {name: block[name].sel(point=flat).values for name in self.grid.values})
        self.save()
        for path in blocks:
            path.unlink()
        if blocks:
            with suppress(OSError):  # somebody's own file in it
                blocks[0].parent.rmdir()
