"""The variants of the tiny experiment, as commands take them."""

from pathlib import Path
from typing import Any

from lossviz import work
from lossviz.config import Config, read
from lossviz.run import Run, run_of
from lossviz.work import Options
from tests.faults import tiny

TWO = {"one": {}, "two": {"model": {"norm": "batch"}}}
REFUSED = {"model": {"norm": "batch"}, "train": {"micro_batch": 1}}
QUIET = Options("cpu", quiet=True)
FRESH = Options("cpu", fresh=True, quiet=True)


def jobs(folder: Path, **sections: Any) -> list[tuple[Run, Config]]:
    configs = read(str(tiny.write(folder, **{"variants": TWO, **sections})))
    return [(run_of(config, folder / "runs"), config) for config in configs]


def finished(folder: Path) -> list[tuple[Run, Config]]:
    """One variant with everything that the commands leave."""
    made = jobs(folder)[:1]
    work.train(made, QUIET)
    work.probe(made, QUIET, at_checkpoints=False)
    work.surface(made, QUIET)
    return made
