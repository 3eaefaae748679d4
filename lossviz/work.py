"""Run a command over all variants of an experiment: prepare, lock the folder, work; or print the plan."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from lossviz.config import Config
from lossviz.config.data import Cifar10
from lossviz.config.train import Precision
from lossviz.distributed.ranks import Ranks, UnreachableError, ranks
from lossviz.engine.allocation import keep_freed_memory
from lossviz.engine.backend import Backend
from lossviz.engine.memory import explained_memory
from lossviz.errors import LossvizError, RequestError, first_line, refuse
from lossviz.files import shown
from lossviz.probe.command import plan_along_training, plan_at_checkpoints, probe_checkpoints, probe_training
from lossviz.progress import Report
from lossviz.results import ProbeResults
from lossviz.run import Run
from lossviz.setup import Setup, prepare
from lossviz.signals import Stopped, StopRequest, deferred
from lossviz.surface.command import surface as scan_variant
from lossviz.surface.cost import surface_lines, surface_time
from lossviz.surface.plan import ScanPlan
from lossviz.surface.workers import HERE, Place
from lossviz.training.command import train as train_variant
from lossviz.training.plan import plan_training, time_training
from lossviz.user_code.loader import explained
from lossviz.user_code.permissions import NOBODY, Allowed

Jobs = Sequence[tuple[Run, Config]]
Subject = TypeVar("Subject")

# How long the first process waits for the others' lists of skipped files; all end at nearly the same time.
SECONDS_FOR_OTHERS = 60.0


@dataclass(frozen=True)
class Options:
    """The command line's options that are the same for all variants.

    Attributes:
        of_folder: the configurations are those of the folders, which keep them as they are.
    """

    device: str = "auto"
    fresh: bool = False
    dry_run: bool = False
    quiet: bool = False
    allowed: Allowed = NOBODY
    of_folder: bool = False


@dataclass(frozen=True)
class Command(Generic[Subject]):
    """What a command does with one variant.

    Attributes:
        subject: what it works on, resolved once; refuses what cannot be done.
        planned: what it would do, line by line; refuses what cannot be done.
        action: does it.
        files: what it leaves, and --fresh discards.
        shared: whether several processes of torchrun can do it together.
        instead: of torchrun, where they cannot.
        precision: in which it computes; auto is the training's.
        measured: how long it would take, from scratch or not, found out by beginning it; for --dry-run.
    """

    subject: Callable[[Setup], Subject]
    planned: Callable[[Subject], list[str]]
    action: Callable[[Subject, Report, StopRequest], object]
    files: Callable[[Run, Config], list[Path]]
    shared: bool = False
    instead: str = "start it without"
    measured: Callable[[Subject, bool], list[str]] = lambda *_: []
    precision: Callable[[Config], Precision] = lambda _: "auto"


def train(jobs: Jobs, options: Options) -> None:
    """`lossviz train`."""
    command = Command(_itself, plan_training, train_variant, _all_files, shared=True, measured=time_training)
    _each(jobs, options, command)


def probe(jobs: Jobs, options: Options, at_checkpoints: bool) -> None:
    """`lossviz probe`: at the checkpoints of a run, or along its training."""
    action = probe_checkpoints if at_checkpoints else probe_training
    planned = plan_at_checkpoints if at_checkpoints else plan_along_training
    _each(jobs, options, Command(_itself, planned, action, lambda run, _: [run.probe_file, run.replay_file]))


def surface(jobs: Jobs, options: Options, place: Place = HERE) -> None:
    """`lossviz surface`, computed at a place."""
    command = Command(
        ScanPlan,
        surface_lines,
        partial(scan_variant, place=place),
        _scan_files,
        instead="the workers of a scan are others: lossviz surface ... --workers N, without torchrun; "
        "a scan that torchrun's processes left unfinished goes on",
        measured=partial(surface_time, place=place),
        precision=lambda config: config.surface.precision,
    )
    _each(jobs, options, command)


def _itself(setup: Setup) -> Setup:
    return setup


def _scan_files(run: Run, config: Config) -> list[Path]:
    return run.scan_files(config.surface.name)


def _all_files(run: Run, _: Config) -> list[Path]:
    # Measurements of a training go with it; what a person put beside them stays.
    directions = sorted(run.folder.glob("directions-*.safetensors"))
    names = dict.fromkeys(each.stem.split("-", 1)[1] for each in (*run.surface_files, *directions))
    scans = [each for name in names for each in run.scan_files(name)]
    return [run.train_file, run.probe_file, *scans, run.resume_file.parent, run.record_file]


def _each(jobs: Jobs, options: Options, command: Command[Subject]) -> None:
    processes = ranks()
    if not (processes.alone or command.shared):
        refuse(f"this command works in one process, and torchrun started {processes.world}", advice=command.instead)
    report = Report(options.quiet, processes.rank)
    if options.dry_run:
        _say_plans(jobs, options, command, report)
        return
    _refuse_any(jobs, options, command)
    said = None
    for run, config in jobs:
        with explained(), explained_memory(str(run.folder)):
            setup, fresh = _ready(run, config, options, command), _discarded(run, config, options, command)
            run.refuse_another(config, fresh)
            subject = command.subject(setup)
            command.planned(subject)  # what it needs may be gone by its turn; nothing is touched yet
            if said != setup.backend:
                _say_backend(setup.backend, report)
                said = setup.backend
            _note_discarded(run, fresh, report)
            # Of several processes the first one holds the lock, for all of them.
            writing = run.writing(config, fresh, keep=options.of_folder) if processes.first else nullcontext()
            with deferred() as stop, writing:
                try:
                    command.action(subject, report, stop)
                except Stopped:
                    with suppress(UnreachableError):  # torchrun's store may be gone
                        _tell_damaged(setup, report, processes, wait_s=0)
                    raise
                _tell_damaged(setup, report, processes, SECONDS_FOR_OTHERS)
            stop.obey()


def _discarded(run: Run, config: Config, options: Options, command: Command[Subject]) -> list[Path]:
    return command.files(run, config) if options.fresh else []


def _note_discarded(run: Run, files: Sequence[Path], report: Report) -> None:
    """Say how many measured steps --fresh takes away; a probe of a folder measures fewer than one of a training."""
    if run.probe_file in files and run.probe_file.exists():
        # A damaged file is what --fresh mends.
        with suppress(LossvizError):
            steps = ProbeResults.load(run.probe_file).measured
            report.say(f"note: --fresh discards {shown(run.probe_file)} with its {steps:,} measured steps")


def _say_backend(backend: Backend, report: Report) -> None:
    for line in (backend.line(), *backend.warnings):
        report.say(line)


def _ready(run: Run, config: Config, options: Options, command: Command[Subject]) -> Setup:
    setup = prepare(config, run, options.device, options.allowed, precision=command.precision(config))
    if setup.backend.device.type == "cpu":
        keep_freed_memory()  # here, and not where a device is chosen: the process is lossviz's own
    return setup


def _refuse_any(jobs: Jobs, options: Options, command: Command[Subject]) -> None:
    """Refuse impossible variants before the first of several begins: their turn may be days later."""
    possible, refusals = [], []
    for run, config in jobs if len(jobs) > 1 else ():
        with explained(), explained_memory(str(run.folder)):
            setup = _ready(run, config, options, command)
            try:
                run.refuse_another(config, _discarded(run, config, options, command))
                command.planned(command.subject(setup))
                possible.append(run.variant)
            except RequestError as error:
                refusals.append(_named(error, run))
    if refusals:
        others = " ".join(f"--variant {variant}" for variant in possible)
        raise RequestError(*map(str, refusals), *([f"the other variants alone: {others}"] if others else []))


def _named(error: RequestError, run: Run) -> RequestError:
    """A refusal that says of which variant."""
    folder = str(run.folder)
    return RequestError(*(each if str(each).startswith(folder) else each.at(folder) for each in error.refusals))


def _say_plans(jobs: Jobs, options: Options, command: Command[Subject], report: Report) -> None:
    """Print each variant's plan or refusal; the first refusal ends the command."""
    first, said = ranks().first, None
    refusals: list[RequestError] = []
    for run, config in jobs:
        try:
            with explained(), explained_memory(str(run.folder)):
                setup = _ready(run, _offline(config), options, command)
                run.refuse_another(config, _discarded(run, config, options, command))
                subject = command.subject(setup)
                lines = command.planned(subject)
                if said != setup.backend:
                    _say_backend(setup.backend, report)
                    said = setup.backend
                lines += (
                    [*command.measured(subject, options.fresh), *_there(run, config, options, command)] if first else []
                )
        except RequestError as error:
            if len(jobs) == 1:
                raise
            refusals.append(_named(error, run))
            lines = [f"refused: {first_line(error)}"]
        if first:
            Report().say("\n  ".join([f"{run.folder}:", *lines]))
    if refusals:
        raise refusals[0]


def _there(run: Run, config: Config, options: Options, command: Command[Subject]) -> list[str]:
    """Say what happens to files that exist already."""
    there = [path.name for path in command.files(run, config) if path.exists()]
    return [f"{'discards' if options.fresh else 'resumes'} {', '.join(there)}"] if there else []


def _tell_damaged(setup: Setup, report: Report, processes: Ranks, wait_s: float) -> None:
    """Say and record which files could not be read and were skipped, by any of the processes."""
    if not setup.data.skips:
        return
    met = processes.gather(f"damaged/{setup.run.folder}", setup.data.damaged, wait_s)
    damaged = {path: reason for files in met for path, reason in files.items()}
    if damaged:
        setup.run.note("damaged files", **damaged)
        path, reason = next(iter(damaged.items()))
        files = "1 damaged file was" if len(damaged) == 1 else f"{len(damaged):,} damaged files were"
        report.say(f"  warning: {files} skipped (run.json has the list): {path}: {reason}")


def _offline(config: Config) -> Config:
    """The same configuration without downloads."""
    if not isinstance(config.data, Cifar10):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"download": False})})
