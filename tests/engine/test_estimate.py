"""How long a training takes, with a clock that goes by what is computed."""

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lossviz import plan
from lossviz.engine import estimate
from lossviz.engine.evaluation import Evaluation
from lossviz.engine.objective import Objective
from lossviz.engine.share import Share
from lossviz.engine.stepper import Stepper
from lossviz.engine.train import train
from lossviz.progress import duration
from lossviz.signals import StopRequest
from tests.faults import tiny

A_STEP_S, WARMING_UP_S, AN_EXAMPLE_S, FOLDING_S = 3.0, 100.0, 0.5, 40.0


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now, warm, folded = [0.0], set[int](), set[int]()

    def update(objective: Objective, _: Stepper, __: Share, ___: int) -> tuple[Tensor, ...]:
        now[0] += A_STEP_S if id(objective) in warm else WARMING_UP_S
        warm.add(id(objective))
        return (torch.zeros(()),)

    def evaluate(objective: Objective, batches: Iterable[tuple[Tensor, Tensor]]) -> Evaluation:
        examples = sum(len(targets) for _, targets in batches)
        now[0] += AN_EXAMPLE_S * examples + (0 if id(objective) in folded else FOLDING_S)
        folded.add(id(objective))
        return Evaluation(0.0, 0.0, 0.0, examples)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(estimate, "update", update)
    monkeypatch.setattr(Objective, "evaluate", evaluate)


@pytest.mark.parametrize(("sample", "sampled"), [(20, 20), ("none", 0)])
def test_every_step_and_every_example_of_an_evaluation_counts(tmp_path: Path, sample: int | str, sampled: int) -> None:
    """What happens once, at the first step or evaluation, does not."""
    setup = tiny.setup(tmp_path, train={"eval_examples": sample})
    evaluations = 3  # of 15 steps, one every 6
    expected = 15 * A_STEP_S + evaluations * (sampled + len(setup.data.test)) * AN_EXAMPLE_S
    assert estimate.seconds_of_training(setup, 15) == pytest.approx(expected)
    assert not setup.run.folder.exists()


def test_only_what_is_left_takes_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = tiny.setup(tmp_path)
    (line,) = plan.train_time(setup)
    seconds = round(12 * A_STEP_S + 2 * (20 + len(setup.data.test)) * AN_EXAMPLE_S)
    assert line.startswith(f"about {duration(seconds)} on this device for 12 steps")
    monkeypatch.undo()
    train(setup, tiny.QUIET, StopRequest())
    assert plan.train_time(setup) == []
    assert "for 12 steps" in plan.train_time(setup, fresh=True)[0]
