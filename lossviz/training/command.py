"""`lossviz train`: train a variant, or resume where it stopped."""

import math
from contextlib import nullcontext
from typing import Any

from lossviz.config.data import ImageFolder
from lossviz.config.reading import dump
from lossviz.distributed.group import Group, joined
from lossviz.distributed.ranks import ranks
from lossviz.errors import refuse
from lossviz.models.normalization import uses_batch_statistics
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.training.files import TrainingFiles
from lossviz.training.loop import Observer, TrainingLoop
from lossviz.training.shard import pieces_each, processes, synchronisable

OVER = ("done", "diverged")
# What all processes have alike.
ALIKE = ("versions", "code", "own_code", "data")
History = list[list[int]]
"""How many processes trained: [first step, number], in order."""


def train(setup: Setup, report: Report, stop: StopRequest, observer: Observer | None = None) -> int:
    """Train a variant to its end, or to the step whose loss is not finite; all processes of torchrun together.

    Args:
        setup: the variant.
        report: where to say how it goes.
        stop: asked between steps.
        observer: measures on the way.

    Returns:
        The last step that there is: the end, or where the training diverged.

    Raises:
        RequestError: the folder holds the training of other data, or the processes do not fit together.
    """
    with joined(ranks(), setup.backend.device, f"train/{setup.config.name}/{setup.config.variant}") as group:
        return _train(setup, report, stop, observer, group)


def _train(setup: Setup, report: Report, stop: StopRequest, observer: Observer | None, group: Group) -> int:
    run = setup.run
    over = _over(run)
    if over is not None:
        report.say(f"{run.folder}: nothing left to train ({_how(*over)})")
        return over[1]
    before = history(run)
    facts = {**setup.facts(), "processes": before}
    group.refuse_differences({**{name: facts[name] for name in ALIKE}, "configuration": dump(setup.config)})
    _refuse_other_data(run, facts["data"])
    outcome: dict[str, Any] = {}
    with run.stage("train", **facts) if group.first else nullcontext(outcome) as outcome:
        training = TrainingLoop(setup, TrainingFiles(run), setup.train.steps, observer, group)
        if training.step:
            report.say(f"{run.folder}: resuming after step {training.step:,}")
        if group.first:
            _note_processes(training, before, report)
        training.go(report, stop)
        diverged = training.curves.diverged_at
        outcome["status"] = "done" if diverged is None else "diverged"
        outcome["last_step"] = training.end if diverged is None else diverged
    report.say(f"{run.folder}: trained ({_how(outcome['status'], outcome['last_step'])}){_errors(training)}")
    return int(outcome["last_step"])


def history(run: Run) -> History:
    """How many processes trained which steps, as far as run.json knows."""
    known = run.record().get("train", {}).get("processes", [])
    return [[0, known]] if isinstance(known, int) else known


def _note_processes(training: TrainingLoop, before: History, report: Report) -> None:
    """Record how many processes train the next steps, and warn if that trains another network."""
    step, here = training.step, training.group.ranks.world
    known = [[first, number] for first, number in before if first < step]
    there = known[-1][1] if known else here
    if step < training.end and not (known and there == here):
        known.append([step, here])
    training.setup.run.note("train", processes=known)
    if step < training.end and _regroups(training, there, here):
        report.say(
            f"  warning: resuming with {processes(here)} after {there}: BatchNorm sees other groups of images"
            f"{_without_groups(training)}"
        )


def _regroups(training: TrainingLoop, there: int, here: int) -> bool:
    """Whether two numbers of processes differ in which examples are normalised together."""
    train = training.config
    if there == here or not uses_batch_statistics(training.objective.model):
        return False
    return not train.sync_bn or pieces_each(train, there) != pieces_each(train, here)


def _without_groups(training: TrainingLoop) -> str:
    if not synchronisable(training.objective.model):
        return ""
    whole = "" if training.config.micro_batch == "all" else " with micro_batch: all"
    return f" (train.sync_bn: true{whole} does not depend on it)"


def _over(run: Run) -> tuple[str, int] | None:
    """How a finished training ended and its last step; None unless all its files exist."""
    if run.record().get("train", {}).get("status") not in OVER or not run.train_file.exists():
        return None
    protocol = load_results(run.train_file).attrs
    if "diverged_at" in protocol:
        return "diverged", int(protocol["diverged_at"])
    last = int(protocol["steps"])
    return ("done", last) if run.checkpoint_file(last).exists() else None


def _refuse_other_data(run: Run, data: dict[str, str]) -> None:
    begun_with = run.record().get("train", {}).get("data", data)
    if run.resume_file.exists() and begun_with != data:
        problem = "this training began with other data (run.json has their fingerprints)"
        refuse(str(run.folder), problem, advice="put those back, or discard what is there with --fresh")


def _how(status: str, last_step: int) -> str:
    if status == "diverged":
        return f"diverged: the loss of step {last_step:,} is not finite; everything before it is kept"
    return f"{last_step:,} steps"


def _errors(training: TrainingLoop) -> str:
    if training.curves.diverged_at is not None or not training.curves.evaluations:
        return ""
    values = training.curves.latest()
    shown = {name: f"error {values[f'{name}_error']:.2f} %" for name in training.evaluated}
    if math.isnan(values["val_error"]):  # regression
        shown = {name: f"loss {values[f'{name}_loss']:.4g}" for name in training.evaluated}
    setup, sample = training.setup, training.config.eval_examples
    sampled = isinstance(sample, int) and sample < len(setup.data.train)
    names = {
        "train": f"{sample:,} training examples" if sampled else "the training set",
        "val": f"the {'validation' if isinstance(setup.config.data, ImageFolder) else 'test'} set",
    }
    return ", " + ", ".join(f"{number} on {names[name]}" for name, number in shown.items())
