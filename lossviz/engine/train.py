"""`lossviz train`: train a variant, or go on where it stopped."""

import math

from lossviz.engine.setup import Setup
from lossviz.engine.training import Observer, Training
from lossviz.errors import RequestError
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.signals import StopRequest

OVER = ("done", "diverged")


def train(setup: Setup, report: Report, stop: StopRequest, observer: Observer | None = None) -> int:
    """Train a variant to its end, or to the step whose loss is not finite.

    Args:
        setup: the variant.
        report: where to say how it goes.
        stop: asked between steps.
        observer: measures on the way.

    Returns:
        The last step that there is: the end, or where the training diverged.
    """
    run = setup.run
    over = _over(run)
    if over is not None:
        report.say(f"{run.folder}: nothing left to train ({_how(*over)})")
        return over[1]
    facts = setup.facts()
    _refuse_other_data(run, facts["data"])
    with run.stage("train", **facts) as outcome:
        training = Training(setup, observer)
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
    train_loss, train_error, val_loss, val_error = training.curves.evaluations[max(training.curves.evaluations)]
    if math.isnan(train_error):  # regression
        return f", loss {train_loss:.4g} on the training and {val_loss:.4g} on the test set"
    return f", error {train_error:.2f} % on the training and {val_error:.2f} % on the test set"
