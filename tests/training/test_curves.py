"""What train.nc holds."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from lossviz.config import Config, read
from lossviz.training.curves import Curves
from tests.faults import tiny


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Config:
    return read(str(tiny.write(tmp_path)))[0]


def fed(config: Config, losses: Sequence[float]) -> Curves:
    """Curves after a step with each of these losses."""
    curves = Curves(config, "cross-entropy", {"parameters": 7})
    for step, loss in enumerate(losses):
        curves.add([torch.tensor(loss), torch.tensor(50.0).double(), torch.tensor(0.5).double()], 0.1 * step)
    return curves


def test_numbers_arrive_in_order_and_in_float64(config: Config) -> None:
    curves = fed(config, [3.0, 2.0])
    assert curves.settle()
    curves.add([torch.tensor(1.0), torch.tensor(75.0).double(), torch.tensor(0.25).double()], 0.3)
    found = curves.dataset()
    assert found["step"].values.tolist() == [0, 1, 2]
    assert found["loss"].values.tolist() == [3.0, 2.0, 1.0]
    assert found["accuracy"].values.tolist() == [50.0, 50.0, 75.0]
    assert found["penalty"].values.tolist() == [0.5, 0.5, 0.25]
    assert found["lr"].values.tolist() == [0.0, 0.1, 0.3]
    assert found["loss"].dtype == "float64"


def test_every_variable_explains_itself(config: Config) -> None:
    found = Curves(config, "cross-entropy", {"parameters": 7}).dataset()
    assert all({"long_name", "units"} <= set(found[name].attrs) for name in found.variables)
    assert found.attrs["parameters"] == 7
    assert found.attrs["steps"] == 12
    assert found.attrs["experiment"] == "tiny"


@pytest.mark.parametrize(("loss", "unit"), [("cross-entropy", "nat"), ("squared-error", "1"), ("own", "1")])
def test_losses_and_penalty_have_the_unit_of_the_loss(config: Config, loss: str, unit: str) -> None:
    found = Curves(config, loss, {"parameters": 7}).dataset()
    assert {found[name].attrs["units"] for name in ("loss", "penalty", "train_loss", "val_loss")} == {unit}
    assert {found[name].attrs["units"] for name in ("accuracy", "train_error", "val_error")} == {"%"}
    assert found.attrs["loss_function"] == loss


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_not_finite_is_the_last_row(config: Config, bad: float) -> None:
    curves = fed(config, [3.0, bad, 2.0, math.nan])
    assert not curves.settle()
    assert curves.diverged_at == 1
    curves.add([torch.tensor(1.0), torch.tensor(0.0).double(), torch.tensor(0.0).double()], 0.0)
    assert not curves.settle()
    found = curves.dataset()
    assert found.sizes["step"] == 2
    assert str(found["loss"].values[-1]) == str(bad)
    assert found.attrs["diverged_at"] == 1


def test_rewinding_forgets_what_came_later(config: Config) -> None:
    curves = fed(config, [3.0, 2.0, 1.0])
    for step in (0, 2, 3):
        curves.add_evaluation(step, {"train_loss": step, "train_error": 1.0, "val_loss": 2.0, "val_error": 3.0})
    again = Curves(config, "cross-entropy", {"parameters": 7})
    again.rewind(curves.dataset(), 2)
    assert again.dataset()["loss"].values.tolist() == [3.0, 2.0]
    assert sorted(again.evaluations) == [0, 2]
    again.rewind(curves.dataset(), 3)
    assert again.dataset().identical(curves.dataset())


def test_evaluations_are_sorted_by_step(config: Config) -> None:
    curves = Curves(config, "cross-entropy", {"parameters": 7})
    for step in (6, 0):
        curves.add_evaluation(step, {"val_error": 1.0, "val_loss": 2.0, "train_error": 3.0, "train_loss": step})
    found = curves.dataset()
    assert found["eval_step"].values.tolist() == [0, 6]
    assert found["train_loss"].values.tolist() == [0.0, 6.0]
    assert found["val_error"].values.tolist() == [1.0, 1.0]
