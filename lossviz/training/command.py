"""`lossviz train`: train a variant, or resume where it stopped."""

import hashlib
import math
from contextlib import nullcontext
from functools import partial
from typing import Any, NoReturn

from lossviz.config.data import ImageFolder
from lossviz.config.model import OwnModel, Timm, Transformers
from lossviz.config.reading import dump
from lossviz.distributed.group import Group, joined
from lossviz.distributed.ranks import ranks
from lossviz.engine.checkpoint import load_resume
from lossviz.engine.objective import Objective
from lossviz.engine.state import steady, tensors_of
from lossviz.engine.trust import EXAMPLES, disagreement
from lossviz.errors import refuse
from lossviz.models.build import count_parameters
from lossviz.models.normalization import uses_batch_statistics
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.training.curves import Curves, evaluated_splits
from lossviz.training.files import Files, TrainingFiles
from lossviz.training.loop import Observer, TrainingLoop
from lossviz.training.shard import pieces_each, processes, shard_of, synchronisable
from lossviz.training.step_graph import capturable
from lossviz.training.stepper import Stepper

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
    if run.resume_file.exists() and setup.changed_data():
        refuse_other_data(run)
    outcome: dict[str, Any] = {}
    with run.stage("train", **facts) if group.first else nullcontext(outcome) as outcome:
        training = begin(setup, TrainingFiles(run), setup.train.steps, observer, group)
        if training.step:
            report.say(f"{run.folder}: resuming after step {training.step:,}")
        if group.first:
            _note_processes(run, training, before, report)
        training.go(report, stop)
        diverged = training.curves.diverged_at
        outcome["status"] = "done" if diverged is None else "diverged"
        outcome["last_step"] = training.end if diverged is None else diverged
    report.say(f"{run.folder}: trained ({_how(outcome['status'], outcome['last_step'])}){_errors(setup, training)}")
    return int(outcome["last_step"])


def begin(
    setup: Setup, files: Files, end: int, observer: Observer | None = None, group: Group | None = None
) -> TrainingLoop:
    """The loop of a variant, at its last saved state.

    Args:
        setup: the variant.
        files: what is written, or compared in a replay.
        end: the last step.
        observer: measures before the steps that it calls due; of a single process only.
        group: the processes that train together.
    """
    config, data, group = setup.train, setup.data, group or Group()
    splits = evaluated_splits(data, config.eval_examples, setup.config.seed)
    objective, stepper, saved = _last_state(setup, files, observer)
    model = objective.model
    shard = shard_of(config, setup.minibatches(), group, model)
    facts: dict[str, int | str] = {
        "parameters": count_parameters(model),
        "outputs": data.outputs,
        "precision": setup.backend.precision,
    }
    curves = Curves(setup.config, setup.loss_name, facts, setup.terms)
    files.restore(curves, saved)
    if not group.alone:
        group.refuse_differences({"weights": _digest(objective, stepper, saved or 0)})
    own = isinstance(setup.config.model, OwnModel)
    written_here = not isinstance(setup.config.model, OwnModel | Timm | Transformers)
    training = TrainingLoop(
        setup.run.variant,
        config,
        objective,
        stepper,
        shard,
        {name: group.shard(split) for name, split in splits.items()},
        setup.backend.evaluation_batch,
        curves,
        files,
        end,
        saved or 0,
        observer=observer,
        # Other people's networks may put new tensors in the place of their own, which a graph would not see.
        capture=written_here and capturable(objective, stepper, shard),
    )
    if own and group.first and not files.replays:
        training.check = partial(_doubt_rebuilt, setup)
    return training


def _last_state(setup: Setup, files: Files, observer: Observer | None) -> tuple[Objective, Stepper, int | None]:
    """The network and its optimiser as they were saved, and their step; new ones and None if nothing was."""
    objective = setup.objective()
    stepper = Stepper(setup.train, objective.parameters)
    if not files.resume_file.exists():
        return objective, stepper, None
    step = load_resume(files.resume_file, objective.model, stepper.optimizer, files.titles)
    if files.replays and observer and any(observer.due(earlier) for earlier in range(step)):
        objective = setup.objective()  # that replay was for other steps: these lie behind it
        return objective, Stepper(setup.train, objective.parameters), 0
    return objective, stepper, step


def _digest(objective: Objective, stepper: Stepper, step: int) -> str:
    """SHA-256 of all that the next step starts from."""
    digest = hashlib.sha256(repr(step).encode())
    moments = [value for state in stepper.optimizer.state.values() for value in state.values()]
    for tensor in (*tensors_of(objective.model).values(), *moments):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _doubt_rebuilt(setup: Setup, objective: Objective) -> str:
    """Say how a network that is built again differs from this one, with the tensors that a checkpoint holds."""
    batch = next(iter(setup.data.train.batches(EXAMPLES)))
    rebuilt = setup.objective(eager=True).model.eval()
    rebuilt.load_state_dict(tensors_of(objective.model), strict=False)  # extra states are missing
    with steady(objective.model):
        objective.model.eval()
        here, there = objective.outputs(objective.model), objective.outputs(rebuilt)
        reason = disagreement(there, here, batch, objective.tolerance)
    if not reason:
        return ""
    return (
        f"a network that is rebuilt from a checkpoint of this one departs from it: {reason}. What a network keeps in "
        "plain attributes and extra states is in no checkpoint, and neither in scans and resumed trainings: use buffers"
    )


def history(run: Run) -> History:
    """How many processes trained which steps, as far as run.json knows."""
    known = run.record().get("train", {}).get("processes", [])
    return [[0, known]] if isinstance(known, int) else known


def _note_processes(run: Run, training: TrainingLoop, before: History, report: Report) -> None:
    """Record how many processes train the next steps, and warn if that trains another network."""
    step, here = training.step, training.group.ranks.world
    known = [[first, number] for first, number in before if first < step]
    there = known[-1][1] if known else here
    if step < training.end and not (known and there == here):
        known.append([step, here])
    run.note("train", processes=known)
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
    protocol = load_results(run.train_file, run.titles).attrs
    if "diverged_at" in protocol:
        return "diverged", int(protocol["diverged_at"])
    last = int(protocol["steps"])
    return ("done", last) if run.checkpoint_file(last).exists() else None


def refuse_other_data(run: Run) -> NoReturn:
    """Say that data are not those of a training; run.json is named: a bit of it may have changed, and not they."""
    problem = "has the fingerprints of other data, with which this training began"
    advice = "put those back, or discard the training: lossviz train ... --fresh"
    refuse(str(run.record_file), problem, advice=advice)


def _how(status: str, last_step: int) -> str:
    if status == "diverged":
        return f"diverged: the loss of step {last_step:,} is not finite; everything before it is kept"
    return f"{last_step:,} steps"


def _errors(setup: Setup, training: TrainingLoop) -> str:
    if training.curves.diverged_at is not None or not training.curves.evaluations:
        return ""
    values = training.curves.latest()
    shown = {name: f"error {values[f'{name}_error']:.2f} %" for name in training.evaluated}
    if math.isnan(values["val_error"]):  # regression
        shown = {name: f"loss {values[f'{name}_loss']:.4g}" for name in training.evaluated}
    sample = training.config.eval_examples
    sampled = isinstance(sample, int) and sample < len(setup.data.train)
    names = {
        "train": f"{sample:,} training examples" if sampled else "the training set",
        "val": f"the {'validation' if isinstance(setup.config.data, ImageFolder) else 'test'} set",
    }
    return ", " + ", ".join(f"{number} on {names[name]}" for name, number in shown.items())
