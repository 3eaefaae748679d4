import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lossviz.config.schedule import judged, learning_rate, plateaus
from lossviz.config.train import Plateau, Train


def config(**keys: Any) -> Train:
    return Train.model_validate({"steps": 100, "lr": 0.4, **keys})


def test_constant() -> None:
    assert [learning_rate(config(), step) for step in (0, 50, 99)] == [0.4] * 3


@pytest.mark.parametrize(
    ("step", "drops"), [(0, 0), (29, 0), (30, 1), (31, 1), (59, 1), (60, 2), (89, 2), (90, 3), (99, 3)]
)
def test_step_drops_at_its_milestones(step: int, drops: int) -> None:
    train = config(schedule={"kind": "step", "milestones": (30, 60, 90), "gamma": 0.2})
    assert learning_rate(train, step) == pytest.approx(0.4 * 0.2**drops, rel=1e-15)


@given(st.integers(1, 1000), st.data())
def test_cosine(steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps - 1))
    rate = learning_rate(config(steps=steps, schedule={"kind": "cosine"}), step)
    assert rate == pytest.approx(0.4 * math.cos(math.pi * step / steps / 2) ** 2, rel=1e-9)  # half-angle formula


def test_cosine_at_known_points() -> None:
    train = config(schedule={"kind": "cosine"})
    rates = [learning_rate(train, step) for step in (0, 25, 50, 75)]
    assert rates == pytest.approx([0.4, 0.2 * (1 + 0.5**0.5), 0.2, 0.2 * (1 - 0.5**0.5)], rel=1e-14)


@pytest.mark.parametrize("schedule", [{"kind": "constant"}, {"kind": "cosine"}, {"kind": "step", "milestones": (2,)}])
def test_warm_up_multiplies_the_schedule(schedule: dict[str, Any]) -> None:
    warm, cold = config(schedule=schedule, warmup=4), config(schedule=schedule)
    factors = [learning_rate(warm, step) / learning_rate(cold, step) for step in range(8)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1], rel=1e-15)


def test_he_warm_up_is_constant() -> None:
    """He et al. 2015, section 4.2: 0.01 for some 400 steps, then 0.1 and its drops."""
    schedule = {"kind": "step", "milestones": (2, 6)}
    train = config(lr=0.1, schedule=schedule, warmup=4, warmup_lr=0.01)
    expected = [0.01] * 4 + [0.01] * 2 + [0.001] * 2
    assert [learning_rate(train, step) for step in range(8)] == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("errors", "expected"), [([90.0, 80.0], [90.0, 80.0]), ([math.nan, math.nan], [2.0, 1.0]), ([], [])]
)
def test_errors_are_judged_and_losses_where_there_are_none(errors: list[float], expected: list[float]) -> None:
    """As of regression and of closures; a loss that is not finite does not hide the errors beside it."""
    assert judged(errors, [2.0, 1.0][: len(errors)]) == expected
    assert judged([90.0, math.nan], [math.nan, math.nan]) == [90.0, math.nan]


@pytest.mark.parametrize(
    ("min_delta", "expected"),
    [
        # bests: 90, 80, 70; 75 and 70 bring none, nor do 71 and 69.5 where a best must be lower by more than 1
        (0.0, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]),
        (1.0, [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_plateaus_of_a_history(min_delta: float, expected: list[int]) -> None:
    errors = [90.0, 80.0, 70.0, 75.0, 70.0, 71.0, 69.5, 69.5, 80.0, 10.0]
    schedule = Plateau(kind="plateau", patience=2, min_delta=min_delta)
    assert [plateaus(schedule, errors[: i + 1]) for i in range(len(errors))] == expected
    train = config(schedule={"kind": "plateau", "patience": 2, "min_delta": min_delta, "gamma": 0.5}, warmup=2)
    assert learning_rate(train, 0, errors) == pytest.approx(0.4 * 0.5 ** expected[-1] / 2, rel=1e-15)


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=30),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0]),
)
def test_plateaus_are_those_of_torch(errors: list[int], patience: int, min_delta: float) -> None:
    """torch counts the evaluations that it tolerates, one less than those after which lr drops."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=min_delta, threshold_mode="abs", eps=0.0
    )
    schedule = Plateau(kind="plateau", patience=patience, min_delta=min_delta)
    for i, error in enumerate(errors):
        theirs.step(error)
        assert optimizer.param_groups[0]["lr"] == 0.5 ** plateaus(schedule, errors[: i + 1])
