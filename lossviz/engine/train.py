"""`lossviz train`: train a variant, or go on where it stopped."""

import math
from contextlib import nullcontext
from typing import Any

from lossviz.config.reading import dump
from lossviz.engine.group import Group, joined
from lossviz.engine.ranks import ranks
from lossviz.engine.setup import Setup
from lossviz.engine.training import Observer, Training
from lossviz.errors import RequestError
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.signals import StopRequest

OVER = ("done", "diverged")
# What all processes have alike.
ALIKE = ("versions", "code", "own_code", "data")


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
    facts = {**setup.facts(), "processes": group.ranks.world}
    group.refuse_differences({**{name: facts[name] for name in ALIKE}, "configuration": dump(setup.config)})
    _refuse_other_data(run, facts["data"])
    outcome: dict[str, Any] = {}
    with run.stage("train", **facts) if group.first else nullcontext(outcome) as outcome:
        training = Training(setup, observer, group=group)
        if training.step:
            report.say(f"{run.folder}: going on after step {training.step:,}")
        training.go(report, stop)
        diverged = training.curves.diverged_at
        outcome["status"] = "done" if diverged is None else "diverged"
        outcome["last_step"] = training.end if diverged is None else diverged
    report.say(f"{run.folder}: trained ({_how(outcome['status'], outcome['last_step'])}){_errors(training)}")
    return int(outcome["last_step"])


def _over(run: Run) -> tuple[str, int] | None:
    """How a training ended and its last step, where it is over and everything that it leaves is there."""
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
        raise RequestError(
            f"{run.folder}: this training began with other data (run.json has their fingerprints)\n"
            "  put those back, or discard what is there with --fresh"
        )


def _how(status: str, last_step: int) -> str:
    if status == "diverged":
        return f"diverged: the loss of step {last_step:,} is not finite; everything before it is kept"
    return f"{last_step:,} steps"


def _errors(training: Training) -> str:
    if training.curves.diverged_at is not None or not training.curves.evaluations:
        return ""
    values = training.curves.latest()
    shown = {name: f"error {values[f'{name}_error']:.2f} %" for name in training.evaluated}
    if math.isnan(values["val_error"]):  # regression
        shown = {name: f"loss {values[f'{name}_loss']:.4g}" for name in training.evaluated}
    names = {"train": "training", "val": "test"}
    return ", " + ", ".join(f"{number} on the {names[name]} set" for name, number in shown.items())
