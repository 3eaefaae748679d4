"""Each command over all variants of an experiment: prepare, lock the run folder, work, or only say what would be done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lossviz import plan
from lossviz.config import Config
from lossviz.engine.setup import Setup, prepare
from lossviz.engine.train import train as train_variant
from lossviz.errors import WorkError
from lossviz.probe.measure import probe_checkpoints, probe_training
from lossviz.progress import Report
from lossviz.run import Run
from lossviz.signals import StopRequest, deferred
from lossviz.surface.measure import surface as scan_variant

Jobs = Sequence[tuple[Run, Config]]
Action = Callable[[Setup, Report, StopRequest], object]


@dataclass(frozen=True)
class Options:
    """The command line's options that are the same for all variants."""

    device: str = "auto"
    fresh: bool = False
    dry_run: bool = False
    quiet: bool = False


def train(jobs: Jobs, options: Options) -> None:
    """`lossviz train`."""
    _each(jobs, options, train_variant, plan.train, lambda run, _: run.contents)


def probe(jobs: Jobs, options: Options, at_checkpoints: bool) -> None:
    """`lossviz probe`: at the checkpoints of a run, or along its training."""
    action = probe_checkpoints if at_checkpoints else probe_training
    planned = plan.probe_checkpoints if at_checkpoints else plan.probe_training
    _each(jobs, options, action, planned, lambda run, _: [run.probe_file, run.replay_file])


def surface(jobs: Jobs, options: Options) -> None:
    """`lossviz surface`."""
    _each(jobs, options, scan_variant, plan.surface, lambda run, config: run.scan_files(config.surface.name))


def _each(
    jobs: Jobs,
    options: Options,
    action: Action,
    planned: Callable[[Setup], list[str]],
    discard: Callable[[Run, Config], list[Path]],
) -> None:
    report = Report(options.quiet)
    said = None
    for run, config in jobs:
        setup = prepare(config, run, options.device)
        if said != setup.backend:
            report.say(setup.backend.line())
            said = setup.backend
        if options.dry_run:
            Report().say("\n  ".join([f"{run.folder}:", *planned(setup)]))
            continue
        discarded = discard(run, config) if options.fresh else []
        with deferred() as stop, run.writing(config, fresh=discarded):
            try:
                action(setup, report, stop)
            except torch.OutOfMemoryError as error:
                raise WorkError(
                    f"{run.folder}: {setup.backend.device} is out of memory\n"
                    "  lower train.batch_size or surface.batch_size, or use another --device"
                ) from error
