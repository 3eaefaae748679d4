"""The four commands: parse, load, call, report."""

import io
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lossviz._version import __version__
from lossviz.config import Config, read
from lossviz.errors import LossvizError, RequestError, needing_extra, refuse
from lossviz.launcher import end_with_launcher, let_first_speak, speaks
from lossviz.options import (
    Allow,
    AnySource,
    Clip,
    ConfigSource,
    Debug,
    Device,
    DryRun,
    Figures,
    FiguresFolder,
    Formats,
    Log,
    Out,
    Quiet,
    Reference,
    Scheduler,
    Settings,
    Sources,
    Variants,
    Workers,
)
from lossviz.run import Run, find_runs, run_of
from lossviz.signals import Stopped, raise_on_signals, unbroken
from lossviz.user_code.permissions import Allowed, parse_allowed

# Everything that needs torch, xarray or matplotlib is imported inside the commands:
# --help and errors in a configuration answer in a fraction of a second.

EPILOG = "All keys of a configuration: docs/configuration.md, or python -m lossviz.config.docpage"
EXITS = "Exit status: 0 done, 2 the request is wrong, 1 the work failed, 130 and 143 stopped by SIGINT and SIGTERM."

app = typer.Typer(
    help="Show why neural networks train the way they do.",
    epilog=EXITS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def lossviz(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Show why neural networks train the way they do."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command(epilog=EPILOG)
def train(
    source: ConfigSource,
    settings: Settings = None,
    variants: Variants = None,
    out: Out = None,
    device: Device = "auto",
    allow: Allow = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard the runs, their measurements included, and train again.")
    ] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train every variant of an experiment, or resume where it stopped.

    Example: lossviz train quickstart --variant batchnorm --set train.lr=0.05
    """
    with _errors(debug):
        allowed = parse_allowed(allow or ())
        jobs = _experiment(source, settings, variants, out, allowed)
        with unbroken():
            from lossviz import work

        work.train(jobs, work.Options(device, fresh, dry_run, quiet, allowed))


@app.command(epilog=EPILOG)
def probe(
    source: AnySource,
    settings: Settings = None,
    variants: Variants = None,
    out: Out = None,
    device: Device = "auto",
    allow: Allow = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard probe.nc, and measure again.")] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure how loss and gradient change along the gradient.

    With CONFIG: every probe.every steps of the training, which runs, resumes or is replayed for it.
    With RUN: at the checkpoints that are there. Both give the same numbers.
    """
    with _errors(debug):
        folder = _is_folder(source)
        allowed = parse_allowed(allow or ())
        jobs = _jobs(source, settings, variants, out, allowed)
        with unbroken():
            from lossviz import work

        work.probe(jobs, work.Options(device, fresh, dry_run, quiet, allowed, folder), at_checkpoints=folder)


@app.command(epilog=EPILOG)
def surface(
    source: AnySource,
    settings: Settings = None,
    variants: Variants = None,
    out: Out = None,
    device: Device = "auto",
    allow: Allow = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Discard the scan of this name, and scan again.")] = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Scan the loss on a line or plane through a trained network.

    --set surface.name=NAME names a scan; scans of different names are kept side by side.
    With RUN, what --set says is for this scan only.
    """
    with _errors(debug):
        _refuse_scheduler(scheduler, workers)
        allowed = parse_allowed(allow or ())
        jobs = _jobs(source, settings, variants, out, allowed)
        with unbroken():
            from lossviz import work

        options = work.Options(device, fresh, dry_run, quiet, allowed, _is_folder(source))
        if not (workers or scheduler):
            work.surface(jobs, options)
            return
        with needing_extra("cluster", "--workers" if workers else "--scheduler"), unbroken():
            from lossviz.cluster.cluster import Cluster
        with Cluster(workers or 0, scheduler or "", device) as cluster:
            work.surface(jobs, options, cluster)


@app.command()
def plot(
    sources: Sources,
    figures: Figures = None,
    formats: Formats = None,
    variants: Variants = None,
    out: FiguresFolder = None,
    log: Log = None,
    clip: Clip = None,
    reference: Reference = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw what is on disk; several runs share axes and one legend."""
    with _errors(debug):
        from lossviz.plot.sources import find_sources

        runs, scans = find_sources(sources, variants or ())
        with unbroken():
            from lossviz.plot.draw import draw
            from lossviz.plot.series import Options
            from lossviz.progress import Report

        options = Options(log, clip, reference, scans)
        say = Report(quiet).say
        paths = draw(runs, figures=figures or (), formats=formats or ("png",), folder=out, options=options, say=say)
        if not quiet:
            typer.echo("\n".join(str(path) for path in paths))
            for table in (path for path in paths if path.suffix == ".md"):
                typer.echo(f"\n{table.read_text(encoding='utf-8')}", nl=False)


def main() -> None:
    """The console script."""
    raise_on_signals()
    end_with_launcher()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        app()
    except Stopped as stopped:
        if speaks():
            typer.echo(
                f"lossviz: stopped by {stopped}; everything finished is kept, the same command resumes", err=True
            )
        sys.exit(stopped.exit_status)


def _experiment(
    source: str, settings: Sequence[str] | None, variants: Sequence[str] | None, out: Path | None, allowed: Allowed
) -> list[tuple[Run, Config]]:
    out = out or Path("runs")
    return [(run_of(config, out, source), config) for config in read(source, settings or (), variants or (), allowed)]


def _jobs(
    source: str, settings: Sequence[str] | None, variants: Sequence[str] | None, out: Path | None, allowed: Allowed
) -> list[tuple[Run, Config]]:
    if _is_folder(source):
        if out is not None:
            problem = f"is for the runs of a CONFIG, and the results of {source} go into it"
            refuse("--out", problem, advice="leave it out; to keep the folder as it is, copy it and name the copy")
        return [(run, run.config(settings or (), allowed)) for run in find_runs(Path(source), variants or ())]
    return _experiment(source, settings, variants, out, allowed)


def _refuse_scheduler(address: str | None, workers: int | None) -> None:
    if address and workers:
        refuse("--workers and --scheduler", "exclude each other: the scheduler has workers of its own")
    if address is not None and not re.fullmatch(r"(tls|tcp)://\S+:\d+", address):
        refuse("--scheduler", given=address, accepted="tls://HOST:PORT, or tcp:// on a network that is yours alone")


def _is_folder(source: str) -> bool:
    try:
        return Path(source).is_dir()
    except OSError:
        return False  # such as a name that is too long


@contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """Print errors that users can act on as a readable block and set the exit status; bugs stay visible."""
    try:
        yield
    except (LossvizError, OSError) as error:
        if debug:
            traceback.print_exc()
        place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        text = f"{place}{error.strerror or error}" if isinstance(error, OSError) else str(error)
        if isinstance(error, RequestError):
            let_first_speak()
        typer.echo(f"lossviz: {text}", err=True)
        raise typer.Exit(getattr(error, "exit_status", 1)) from None
