"""How long a training takes, with a clock that goes by what is computed."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine import timing
from lossviz.engine.evaluation import Evaluation
from lossviz.engine.objective import Differential, Objective
from lossviz.engine.terms import Losses, Term
from lossviz.engine.timing import Estimate
from lossviz.progress import duration
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.training.command import train
from lossviz.training.curves import evaluated_splits
from lossviz.training.plan import time_of_training, time_training
from lossviz.training.stepper import Stepper
from tests.data.photographs import write_tree
from tests.faults import tiny

FORWARD_BACKWARD_S, UPDATE_S, FORWARD_S, ONCE_S = 0.02, 0.25, 0.001, 0.1
A_STEP_S = 8 * FORWARD_BACKWARD_S + UPDATE_S


class Clock:
    """Goes by the examples; the first call of each kind takes longer.

    Attributes:
        examples: of the largest minibatch and of the largest evaluation so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.examples = 0.0, [0, 0]
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(Objective, "differentiate", self.differentiate)
        monkeypatch.setattr(Objective, "evaluate", self.evaluate)
        monkeypatch.setattr(Stepper, "take", self.take)

    def pass_by(self, kind: int, examples: int, seconds: float) -> None:
        self.now += examples * seconds + (0 if self.examples[kind] else ONCE_S)
        self.examples[kind] = max(self.examples[kind], examples)

    def differentiate(self, batch: Minibatch) -> Differential:
        self.pass_by(0, len(batch.targets), FORWARD_BACKWARD_S)
        return Differential(torch.zeros(()), [], Losses(Term(torch.zeros(1)), torch.zeros(())))

    def evaluate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        examples = sum(len(targets) for _, targets in batches)
        self.pass_by(1, examples, FORWARD_S)
        return Evaluation(0.0, 0.0, 0.0, examples, examples)

    def take(self, *_: Any) -> None:
        self.now += UPDATE_S


def estimated(setup: Setup, steps: int) -> Estimate:
    splits = evaluated_splits(setup.data, setup.train.eval_examples, setup.config.seed).values()
    return time_of_training(steps, setup.train, setup.objective(eager=True), setup.minibatches(), splits, 256)


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(("sample", "sampled"), [(20, 20), ("none", 0)])
@pytest.mark.parametrize("micro", ["all", 4])
def test_every_step_and_every_example_of_an_evaluation_counts(
    tmp_path: Path, clock: Clock, sample: int | str, sampled: int, micro: int | str
) -> None:
    """What happens once, at the first step or evaluation, does not."""
    setup = tiny.setup(tmp_path, train={"eval_examples": sample, "micro_batch": micro})
    evaluations = 3  # of 15 steps, one every 6
    expected = 15 * A_STEP_S + evaluations * (sampled + len(setup.data.test)) * FORWARD_S
    found = estimated(setup, 15)
    assert found.seconds == pytest.approx(expected)
    assert clock.examples == [4 if micro == 4 else 8, len(setup.data.test)]
    if micro == "all":
        assert found.measured == "by a few that were timed"
    assert not setup.run.folder.exists()


def test_what_would_take_too_long_is_extrapolated_and_said_to_be(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.3)
    setup = tiny.setup(tmp_path, train={"batch_size": 32, "eval_examples": "none"})
    found, test = estimated(setup, 600), len(setup.data.test)
    assert found.seconds == pytest.approx(600 * (32 * FORWARD_BACKWARD_S + UPDATE_S) + 100 * test * FORWARD_S)
    steps, evaluated = clock.examples
    assert steps < 32
    assert evaluated < test
    assert found.measured == (
        f"extrapolated from {steps} of the 32 examples of a step and {evaluated} of the {test} of an evaluation"
    )


@pytest.mark.usefixtures("clock")
def test_a_few_images_of_a_folder_are_enough(tmp_path: Path) -> None:
    """Each in ten crops; nothing is written beside them."""
    folder = write_tree(tmp_path / "pictures")
    data = {"name": "imagefolder", "root": str(folder), "image_size": 32, "evaluation": "ten-crop", "examples": "all"}
    setup = tiny.setup(tmp_path, data=data)
    before = tiny.tree(tmp_path)
    assert estimated(setup, 6).seconds > 0
    assert tiny.tree(tmp_path) == before


def test_only_what_is_left_takes_time(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = tiny.setup(tmp_path)
    (line,) = time_training(setup)
    seconds = round(12 * A_STEP_S + 2 * (20 + len(setup.data.test)) * FORWARD_S)
    assert line.startswith(f"about {duration(seconds)} on this device for 12 steps")
    assert clock.now > 0
    monkeypatch.undo()
    train(setup, tiny.QUIET, StopRequest())
    assert time_training(setup) == []
    assert "for 12 steps" in time_training(setup, fresh=True)[0]
