"""Each command over all variants of an experiment: prepare, lock the folder, work; or only say what would be done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from lossviz import plan
from lossviz.config import Config
from lossviz.config.data import Cifar10
from lossviz.engine.setup import Setup, prepare
from lossviz.engine.train import train as train_variant
from lossviz.errors import WorkError
from lossviz.probe.measure import probe_checkpoints, probe_training
from lossviz.progress import Report
from lossviz.run import Run
from lossviz.signals import StopRequest, deferred
from lossviz.surface.measure import surface as scan_variant

Jobs = Sequence[tuple[Run, Config]]


@dataclass(frozen=True)
class Options:
    """The command line's options that are the same for all variants."""

    device: str = "auto"
    fresh: bool = False
    dry_run: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Command:
    """What a command does with one variant.

    Attributes:
        planned: what it would do, line by line; refuses what cannot be done.
        action: does it.
        files: what it leaves, and --fresh discards.
    """

    planned: Callable[[Setup], list[str]]
    action: Callable[[Setup, Report, StopRequest], object]
    files: Callable[[Run, Config], list[Path]]


def train(jobs: Jobs, options: Options) -> None:
    """`lossviz train`."""
    _each(jobs, options, Command(plan.train, train_variant, _all_files))


def probe(jobs: Jobs, options: Options, at_checkpoints: bool) -> None:
    """`lossviz probe`: at the checkpoints of a run, or along its training."""
    action = probe_checkpoints if at_checkpoints else probe_training
    planned = plan.probe_checkpoints if at_checkpoints else plan.probe_training
    _each(jobs, options, Command(planned, action, lambda run, _: [run.probe_file, run.replay_file]))


def surface(jobs: Jobs, options: Options) -> None:
    """`lossviz surface`."""
    _each(jobs, options, Command(plan.surface, scan_variant, lambda run, config: run.scan_files(config.surface.name)))


def _all_files(run: Run, _: Config) -> list[Path]:
    # Measurements of a training go with it; what a person put beside them stays.
    scans = [*run.surface_files, *sorted(run.folder.glob("directions-*.safetensors"))]
    return [run.train_file, run.probe_file, *scans, run.resume_file.parent, run.record_file]


def _each(jobs: Jobs, options: Options, command: Command) -> None:
    report = Report(options.quiet)
    said = None
    for run, config in jobs:
        with _memory(run):
            setup = prepare(_offline(config) if options.dry_run else config, run, options.device)
            lines = command.planned(setup)  # refuses before anything is touched
            if said != setup.backend:
                report.say(setup.backend.line())
                said = setup.backend
            if options.dry_run:
                there = [path.name for path in command.files(run, config) if path.exists()]
                found = [f"{'discards' if options.fresh else 'goes on with'} {', '.join(there)}"] if there else []
                Report().say("\n  ".join([f"{run.folder}:", *lines, *found]))
                continue
            with deferred() as stop, run.writing(config, fresh=command.files(run, config) if options.fresh else []):
                command.action(setup, report, stop)
            stop.obey()


def _offline(config: Config) -> Config:
    """The same without downloads."""
    if not isinstance(config.data, Cifar10):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"download": False})})


@contextmanager
def _memory(run: Run) -> Iterator[None]:
    """Say what to do about too little memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On a CPU torch has no error of its own for it.
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise WorkError(
                f"{run.folder}: out of memory: {reason}\n"
                "  lower train.batch_size, surface.batch_size or model.width, or use another --device"
            ) from error
        raise
