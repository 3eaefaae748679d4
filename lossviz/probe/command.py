"""`lossviz probe`: measure during a training, or at the checkpoints that it left; and the plans of both."""

import time
from functools import partial

from lossviz.config.measures import MEASURES
from lossviz.data.minibatches import Minibatch
from lossviz.engine.checkpoint import fit, load_tensors, of_steps
from lossviz.errors import refuse
from lossviz.models.layers import WeightLayer
from lossviz.models.normalization import uses_batch_statistics
from lossviz.probe.layers import probed_layers
from lossviz.probe.measure import load_measures
from lossviz.probe.prober import ProbedTraining, Prober
from lossviz.progress import Report
from lossviz.results import MEASUREMENTS, protocol
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.training.command import begin, history, refuse_other_data, train
from lossviz.training.files import ReplayDepartedError, ReplayFiles
from lossviz.training.plan import plan_training
from lossviz.training.shard import pieces_each, processes
from lossviz.training.stepper import Stepper

# A kill -9 costs at most about this much work.
SECONDS_BETWEEN_SAVES = 60.0


def probe_training(setup: Setup, report: Report, stop: StopRequest) -> None:
    """Measure every `probe.every` steps while training; steps that lie behind a training are replayed.

    Raises:
        RequestError: as `check_training`.
    """
    check_training(setup)
    prober = Prober(probed_training(setup), probe_steps(setup.config.probe.every, setup.train.steps))
    with setup.run.stage("probe", **setup.facts(), measured_in=setup.backend.full_precision) as outcome:
        last = train(setup, report, stop, prober)
        prober.wanted = {step for step in prober.wanted if step <= last}
        if prober.missing:
            end = prober.missing[-1]
            prober.doubts = True
            try:
                begin(setup, ReplayFiles(setup.run, end, prober.trust), end, prober).go(report, stop)
            except ReplayDepartedError:
                prober.discard_doubtful()
                raise
            prober.trust()
        prober.save()
        outcome["steps"] = len(prober.rows)
    report.say(f"{setup.run.probe_file}: {len(prober.rows):,} steps measured")


def check_training(setup: Setup) -> None:
    """Check that a probe during a training, or a replay of it, computes what the training computes.

    Raises:
        RequestError: several processes trained, BatchNorm sees pieces of a minibatch, or the data are other ones.
    """
    run = setup.run
    for first, number in history(run):
        if number != 1:
            since = f" from step {first:,} on" if first else ""
            problem = f"was trained by {processes(number)}{since}, and a probe goes along in one"
            refuse(str(run.folder), problem, advice=f"measure at its checkpoints: lossviz probe {run.folder}")
    _refuse_pieces(setup)
    _refuse_other_examples(setup)


def _refuse_other_examples(setup: Setup) -> None:
    """Refuse to measure on other training examples than those of the training."""
    if setup.run.train_file.exists() and "train" in setup.changed_data():
        refuse_other_data(setup.run)


def _refuse_pieces(setup: Setup) -> None:
    train = setup.train
    if pieces_each(train, world=1) > 1 and uses_batch_statistics(setup.model()):
        refuse(
            "train.micro_batch",
            f"is below train.batch_size = {train.batch_size}: BatchNorm sees pieces in training, and a probe takes a "
            "minibatch whole",
            given=train.micro_batch,
            accepted="all, which is another training: --out DIR, or lossviz train ... --fresh",
        )


def checkpoints_to_probe(setup: Setup) -> list[int]:
    """Steps of the checkpoints that a run has.

    Raises:
        RequestError: there is none, BatchNorm saw pieces of a minibatch, the data are other ones, or a measure needs
            more than checkpoints hold.
    """
    run = setup.run
    if not run.checkpoint_steps:
        advice = run.command("train", setup.allowed)
        refuse(str(run.folder), "has no checkpoint to measure at", advice=f"make one: lossviz {advice}")
    _refuse_pieces(setup)
    _refuse_other_examples(setup)
    needy = [measure for measure in setup.config.probe.measures if MEASURES[measure].optimizer]
    if needy and setup.train.remembers:
        command = run.command("probe", setup.allowed)
        refuse(
            str(run.folder),
            f"probe.measures: {needy[0]} needs the optimiser's momentum or moments, or the evaluations before a "
            "plateau, which checkpoints do not hold",
            advice=f"measure along the training instead: lossviz {command}",
        )
    return run.checkpoint_steps


def probe_checkpoints(setup: Setup, report: Report, stop: StopRequest) -> None:
    """Measure at every checkpoint of a run, on the minibatch that its step had.

    Raises:
        RequestError: as `checkpoints_to_probe`.
    """
    run, steps = setup.run, checkpoints_to_probe(setup)
    prober, minibatches = Prober(probed_training(setup), steps), setup.minibatches()
    objective = setup.objective()
    objective.model.train()
    stepper = Stepper(setup.train, objective.parameters)
    with run.stage("probe", **setup.facts(), measured_in=setup.backend.full_precision) as outcome:
        saved_at, titles = time.monotonic(), run.titles
        with report.track(
            f"probing {run.variant}", len(steps), "checkpoints", len(steps) - len(prober.missing)
        ) as track:
            for step in prober.missing:
                file = run.checkpoint_file(step)
                fit(objective.model, load_tensors(file, of_steps(titles, step)), file)
                prober.observe(step, objective, minibatches(step), stepper)
                track.advance()
                stopping = bool(stop)  # a signal after this line waits for the next checkpoint: what is there is saved
                if stopping or time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES:
                    prober.save()
                    saved_at = time.monotonic()
                if stopping:
                    stop.obey()
        prober.save()
        outcome["steps"] = len(prober.rows)
    report.say(f"{run.probe_file}: {len(prober.rows):,} steps measured")


def probe_steps(every: int, last: int) -> set[int]:
    """The steps to measure: the first, then every `every` steps, and the end."""
    return {*range(0, last + 1, every), last}


def probed_training(setup: Setup) -> ProbedTraining:
    """The training of a variant, as a prober knows it.

    Raises:
        RequestError: as `probed_layers`; or there are fewer examples than `probe.sharpness` wants.
    """
    return ProbedTraining(
        setup.config.probe,
        setup.run.probe_file,
        titles=setup.run.titles,
        precision=setup.backend.full_precision,
        trained_in=setup.backend.precision,
        attributes={
            **protocol(setup.config, setup.loss_name, MEASUREMENTS),
            "lr": setup.train.lr,
        },
        minibatches=setup.minibatches(),
        layers=_layers(setup),
        subset=_subset(setup),
        weight_decay=setup.train.penalty_decay,
        seed=setup.config.seed,
    )


def _subset(setup: Setup) -> list[Minibatch]:
    """The fixed examples of `sharpness`, in batches; none where it is the step's own minibatch."""
    config = setup.config.probe
    examples = config.sharpness.examples
    if "sharpness" not in config.measures or examples == "minibatch":
        return []
    chosen = setup.data.train.choose(examples, "stratified", setup.config.seed, "probe.sharpness.examples")
    return [Minibatch(batch, noise=i) for i, batch in enumerate(chosen.batches(setup.train.batch_size))]


def _layers(setup: Setup) -> list[WeightLayer]:
    return probed_layers(setup.config.probe, partial(setup.objective, eager=True), setup.data.train)


def plan_along_training(setup: Setup) -> list[str]:
    """Cost and files of probing along a training."""
    check_training(setup)
    lines = plan_training(setup)
    measured = len(probe_steps(setup.config.probe.every, setup.train.steps))
    return [*lines[:-1], _cost_of_measurements(setup, measured), f"{lines[-1]}, and probe.nc"]


def plan_at_checkpoints(setup: Setup) -> list[str]:
    """Cost and files of probing the checkpoints of a run."""
    return [_cost_of_measurements(setup, len(checkpoints_to_probe(setup))), "writes probe.nc"]


def _cost_of_measurements(setup: Setup, count: int) -> str:
    """Say how many passes a number of measurements takes.

    Raises:
        RequestError: as `probed_layers`.
    """
    _layers(setup)
    config, size = setup.config.probe, setup.minibatches().batch_size
    measures = load_measures(config)
    passes = 1 + sum(measure.passes(config) for measure in measures)
    further = ", ".join(measure.further for measure in measures if measure.further)
    cost = f"{count * passes * size:,} forward and backward{f', and {further}' if further else ''}"
    return f"{count:,} measurements of {passes} passes over {size:,} examples: {cost}"
