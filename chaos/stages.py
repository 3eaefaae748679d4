"""The tiny experiment at the stages in which it is disturbed: folders to be copied, each made once."""

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from lossviz.config import read
from lossviz.probe.command import probe_checkpoints, probe_training
from lossviz.progress import Report
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import Stopped, StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from lossviz.training.command import train
from tests.faults import tiny
from tests.faults.tiny import QUIET

# Two variants, so that files can be swapped that nothing but their content tells apart.
SECTIONS: dict[str, Any] = {
    "variants": {"a": {}, "b": {"train": {"lr": 0.04}}},
    "data": {"examples": 600},
    "train": {"steps": 24, "checkpoint_every": 4, "eval_every": 8, "momentum": 0.9},
    "probe": {"every": 3},
}
# Scans of one run: the configuration's, one in other directions, and one of estimates, from coarse points to fine ones.
MAIN = ()
OTHER = ("surface.name=other", "surface.directions={kind: pca}")
SAMPLED = (
    *("surface.name=sampled", "surface.accuracy={absolute: 0.05}", "surface.data={examples: all}"),
    *("surface.x=[-1, 1, 5]", "surface.y=[-1, 1, 5]"),
)
NEVER = 1_000_000
ONE = ("--variant", "a")
RUN = "runs/tiny/a"


def settings(*values: str) -> list[str]:
    """Arguments of the command line that set keys of the configuration."""
    return [part for value in values for part in ("--set", value)]


class After(StopRequest):
    """A request to stop that comes when it has been asked for some times.

    Args:
        times: how often.
    """

    def __init__(self, times: int) -> None:
        self.left = times
        super().__init__()

    @property
    def number(self) -> int:
        """The signal that came; asked for once by whoever looks whether one did."""
        self.left -= 1
        return signal.SIGTERM if self.left < 0 else 0

    @number.setter
    def number(self, _: int) -> None:
        """Left alone: the count decides."""


def _scan(setup: Setup, report: Report, stop: StopRequest) -> None:
    surface(ScanPlan(setup), report, stop)


class Work(NamedTuple):
    """One command on both variants, perhaps stopped on its way.

    Attributes:
        action: what it does.
        settings: keys of the configuration that are set.
        stop: how often it asks for a stop until there is one.
    """

    action: Callable[[Setup, Report, StopRequest], object]
    settings: Sequence[str] = ()
    stop: int = NEVER


class Stage(NamedTuple):
    """What was done before a disturbed command.

    Attributes:
        before: the stage from which it starts.
        works: what was done then.
    """

    before: str = ""
    works: Sequence[Work] = ()


# Trainings ask at every step, probes twice, scans at every checkpoint that they measure and at every point.
STAGES = {
    "new": Stage(),
    "stopped": Stage("new", [Work(train, stop=14)]),
    "trained": Stage("new", [Work(train)]),
    "replaying": Stage("trained", [Work(probe_training, stop=14)]),
    "probing": Stage("trained", [Work(probe_checkpoints, stop=4)]),
    "scanning": Stage("trained", [Work(_scan, MAIN, stop=3), Work(_scan, OTHER, stop=9)]),
    "sampling": Stage("trained", [Work(_scan, SAMPLED, stop=13)]),
    "measured": Stage("trained", [Work(probe_training), *(Work(_scan, each) for each in (MAIN, OTHER, SAMPLED))]),
}


@dataclass
class Stages:
    """Folders with tiny.yaml and runs/, by the names of `STAGES`.

    Attributes:
        folder: of all of them.
    """

    folder: Path
    _made: set[str] = field(default_factory=set)
    _copies: Iterator[int] = field(default_factory=count)

    def at(self, name: str) -> Path:
        """The folder of a stage, to be copied and not to be changed."""
        folder, stage = self.folder / name, STAGES[name]
        if name not in self._made:
            if stage.before:
                shutil.copytree(self.at(stage.before), folder)
            else:
                folder.mkdir(parents=True)
                tiny.write(folder, **SECTIONS)
            for work in stage.works:
                _do(work, folder)
            self._made.add(name)
        return folder

    def copy(self, name: str) -> Path:
        """A new copy of a stage's folder, to be changed."""
        return self.copy_of(self.at(name))

    def copy_of(self, folder: Path) -> Path:
        """A new copy of any folder."""
        return Path(shutil.copytree(folder, self.folder / f"copy-{next(self._copies)}"))


def _do(work: Work, folder: Path) -> None:
    for config in read(str(folder / "tiny.yaml"), work.settings):
        setup = prepare(config, run_of(config, folder / "runs"), "cpu")
        with setup.run.writing(config, keep=True):
            try:
                work.action(setup, QUIET, After(work.stop))
            except Stopped:
                continue
            assert work.stop == NEVER, "it was to be stopped"
