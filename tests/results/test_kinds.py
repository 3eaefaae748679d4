import numpy as np
import pytest
import xarray as xr

from lossviz.config import read
from lossviz.config.reading import dump
from lossviz.results import ProbeResults, Results, TrainResults


def test_the_configuration_is_read_once_and_empty_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    text = dump(read("quickstart", ["train.momentum=0.9", "train.lr=0.25"], ["standard"])[0])
    results = Results(xr.Dataset(attrs={"configuration": text}))
    assert results.config["model"]["name"] == "vgg"
    assert results.training is not None
    assert (results.training.momentum, results.training.lr) == (0.9, 0.25)
    monkeypatch.delattr("yaml.safe_load")
    assert results.config["variant"] == "standard"
    monkeypatch.undo()
    assert Results(xr.Dataset()).config == {}


def test_a_key_of_another_version_does_not_matter() -> None:
    assert Results(xr.Dataset(attrs={"configuration": "surface: {of_next_year: 1}"})).config["surface"] == {
        "of_next_year": 1
    }


def training(recorded: int, **attributes: int) -> TrainResults:
    values = {"accuracy": ("step", np.full(recorded, np.nan)), "val_error": ("eval_step", [np.nan, 5.0])}
    return TrainResults(xr.Dataset(values, coords={"step": range(recorded)}, attrs={"steps": 9, **attributes}))


def test_a_training_is_as_far_as_its_steps() -> None:
    results = training(4)
    assert (results.planned, results.recorded, results.diverged_at) == (9, 4, None)
    assert training(4, diverged_at=3).diverged_at == 3
    assert not results.is_empty
    assert TrainResults(training(0).data.isel(eval_step=[])).is_empty
    assert not TrainResults(training(4).data.isel(eval_step=[])).is_empty


def test_a_regression_has_no_error_at_all() -> None:
    results = training(4)
    assert not results.is_regression
    assert TrainResults(results.data.isel(eval_step=[0])).is_regression


def test_a_probe_has_a_quantity_where_there_is_something_of_it() -> None:
    data = xr.Dataset(
        {"shift_l2": (("step", "layer"), np.zeros((2, 0))), "loss": ("step", [1.0, 2.0])}, attrs={"planned": 7}
    )
    results = ProbeResults(data)
    assert (results.planned, results.measured) == (7, 2)
    assert [results.has(name) for name in ("loss", "shift_l2", "grad_norm")] == [True, False, False]


def test_of_a_loop_of_somebody_else_is_known_what_its_optimizer_tells() -> None:
    known = Results(xr.Dataset(attrs={"configuration": "{train: {optimizer: sgd, momentum: 0.9}}"})).training
    assert known is not None
    assert (known.optimizer, known.momentum, known.nesterov) == ("sgd", 0.9, False)
    assert Results(xr.Dataset(attrs={"configuration": "{model: {name: Net}}"})).training is None
