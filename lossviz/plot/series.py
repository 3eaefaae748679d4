"""The runs of a figure: each with its name, its look, its results and what is to be said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import xarray as xr

from lossviz.official import SUFFIX, read_official_surface
from lossviz.plot.reference import Published
from lossviz.plot.style import Look, look
from lossviz.results import load_results
from lossviz.run import Run


@dataclass(frozen=True)
class Shown:
    """A run as every figure shows it.

    Attributes:
        scans: those of its surface files that are drawn.
    """

    run: Run
    label: str
    look: Look
    scans: tuple[Path, ...] = ()

    @cached_property
    def surfaces(self) -> dict[Path, xr.Dataset]:
        """The contents of its scans, each read once."""
        return {path: _load(path) for path in self.scans}


@dataclass(frozen=True)
class Series:
    """The results of one run in one figure.

    Attributes:
        note: what a reader must know, beside the label.
        remark: what a reader must know, in a sentence below the figure.
        trained: the contents of its train.nc, where the results are those of a probe.
        directions: the file of the directions, where the results are those of a scan.
    """

    label: str
    look: Look
    results: xr.Dataset
    note: str = ""
    remark: str = ""
    trained: xr.Dataset | None = None
    directions: Path | None = None
    published: Mapping[str, Published] = field(default_factory=dict)

    @property
    def legend(self) -> str:
        """The label with what a reader must know about the results."""
        return f"{self.label} ({self.note})" if self.note else self.label

    def of(self, results: xr.Dataset) -> "Series":
        """The same with what was derived from its results."""
        return replace(self, results=results)


def appearing(runs: Sequence[Run], scans: Sequence[Path] = ()) -> list[Shown]:
    """Give every run its label, its look and its scans: of these files, or of all when there are none.

    A variant has the look of its place in the experiment, whether its siblings are drawn or not; the runs of
    several experiments take the looks in the order given.
    """
    unique = list({run.folder.resolve(): run for run in runs}.values())
    one = len({run.folder.resolve().parent for run in unique}) == 1
    labels = [run.variant if one else f"{run.experiment}/{run.variant}" for run in unique]
    if len(set(labels)) < len(labels):  # the same experiment under two --out folders
        labels = [str(run.folder) for run in unique]
    wanted = [_place(run) if one else place for place, run in enumerate(unique)]
    places: list[int] = []
    for place in wanted:
        places.append(next(free for free in count(place) if free not in places))
    chosen = [[path for path in scans if path.parent.resolve() == run.folder.resolve()] for run in unique]
    files = [tuple(own) if scans else tuple(run.surface_files) for own, run in zip(chosen, unique, strict=True)]
    return [Shown(*each) for each in zip(unique, labels, map(look, places), files, strict=True)]


def _place(run: Run) -> int:
    # The folder of an official file has no configuration.
    siblings = run.config().siblings if run.config_file.is_file() else ()
    return siblings.index(run.variant) if run.variant in siblings else len(siblings)


def _load(path: Path) -> xr.Dataset:
    return read_official_surface(path) if path.suffix == SUFFIX else load_results(path)
