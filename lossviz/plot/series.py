"""The runs of a figure: each with its name, its look, its results and what is to be said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import xarray as xr

from lossviz.plot.reference import Published
from lossviz.plot.style import Look, look
from lossviz.run import Run


@dataclass(frozen=True)
class Shown:
    """A run as every figure shows it."""

    run: Run
    label: str
    look: Look


@dataclass(frozen=True)
class Series:
    """The results of one run in one figure."""

    label: str
    look: Look
    results: xr.Dataset
    note: str = ""
    published: Mapping[str, Published] = field(default_factory=dict)

    @property
    def legend(self) -> str:
        """The label with what a reader must know about the results."""
        return f"{self.label} ({self.note})" if self.note else self.label


def appearing(runs: Sequence[Run]) -> list[Shown]:
    """Give every run its label and look.

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
    return [Shown(run, label, look(place)) for run, label, place in zip(unique, labels, places, strict=True)]


def _place(run: Run) -> int:
    siblings = run.config().siblings
    return siblings.index(run.variant) if run.variant in siblings else len(siblings)
