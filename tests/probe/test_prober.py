"""A probe in full precision along a training in mixed precision."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.data.minibatches import Minibatch
from lossviz.engine.checkpoint import load_tensors
from lossviz.errors import RequestError
from lossviz.probe.command import probe_training
from lossviz.results import load_results, save_results
from lossviz.signals import StopRequest
from tests.faults import tiny
from tests.faults.tiny import QUIET

SHORT = {"precision": "bfloat16", "weight_decay": 1e-3}


def plain_gradient(model: nn.Module, batch: Minibatch) -> tuple[float, list[Tensor]]:
    """Loss and gradient as the loop that everybody writes has them."""
    model.zero_grad()
    loss = functional.cross_entropy(model(batch.inputs), batch.targets)
    loss.backward()
    return loss.item(), [each.grad.clone() for each in model.parameters() if each.grad is not None]


def norm_of(vector: list[Tensor]) -> Tensor:
    return torch.stack([part.double().square().sum() for part in vector]).sum().sqrt()


@pytest.mark.parametrize("norm", ["none", "batch", "l2"])
def test_along_a_bfloat16_training_it_measures_in_float32(tmp_path: Path, norm: str) -> None:
    """At the weights of its checkpoints, by the plain float32 loop; bfloat16 is 1e-3 away."""
    setup = tiny.setup(tmp_path, train=SHORT, model={"norm": norm}, probe={"every": 4})
    probe_training(setup, QUIET, StopRequest())
    found, model, minibatches = load_results(setup.run.probe_file), setup.model().train(), setup.minibatches()
    assert found["step"].values.tolist() == setup.run.checkpoint_steps == [0, 4, 8, 12]
    for step in (0, 4, 8, 12):
        theta, batch = load_tensors(setup.run.checkpoint_file(step)), minibatches(step)
        model.load_state_dict(theta)
        loss, gradient = plain_gradient(model, batch)
        here = found.sel(step=step)
        np.testing.assert_allclose(here["loss"], loss, rtol=2e-6)
        np.testing.assert_allclose(here["grad_norm"], norm_of(gradient), rtol=1e-5)
        for eta in (0.1, 0.2):
            model.load_state_dict(theta)
            with torch.no_grad():
                for parameter, part in zip(model.parameters(), gradient, strict=True):
                    parameter.sub_(part, alpha=eta)
            loss, moved = plain_gradient(model, batch)
            np.testing.assert_allclose(here["path_loss"].sel(length=eta), loss, rtol=2e-6)
            distance = norm_of([there - part for there, part in zip(moved, gradient, strict=True)])
            np.testing.assert_allclose(here["grad_distance"].sel(length=eta), distance, rtol=1e-4)


def test_both_precisions_are_on_record(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, train=SHORT)
    probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.train_file).attrs["precision"] == "bfloat16"
    assert load_results(setup.run.probe_file).attrs["precision"] == "float32"
    record = setup.run.record()
    assert (record["train"]["compute"]["precision"], record["probe"]["measured_in"]) == ("bfloat16", "float32")


def test_float64_is_measured_in_float64(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, train={"precision": "float64"})
    probe_training(setup, QUIET, StopRequest())
    assert load_results(setup.run.probe_file).attrs["precision"] == "float64"


@pytest.mark.parametrize("training", ["bfloat16", "float32"])
def test_measurements_of_two_precisions_are_not_mixed(tmp_path: Path, training: str) -> None:
    """Files of old versions do not name one: they were measured in that of the training."""
    setup = tiny.setup(tmp_path, train={"precision": training})
    probe_training(setup, QUIET, StopRequest())
    old = load_results(setup.run.probe_file)
    del old.attrs["precision"]
    save_results(setup.run.probe_file, old)
    if training == "float32":
        probe_training(setup, QUIET, StopRequest())
        return
    with pytest.raises(RequestError, match=r"(?s)probe\.nc: was measured in bfloat16, .* float32.*--fresh"):
        probe_training(setup, QUIET, StopRequest())


def test_the_file_says_how_products_with_the_hessian_were_taken(tmp_path: Path) -> None:
    """Also where the steps that need them were measured by an earlier command."""
    setup = tiny.setup(tmp_path, probe={"every": 8, "measures": ["sharpness"]})
    probe_training(setup, QUIET, StopRequest())
    for _ in range(2):
        assert load_results(setup.run.probe_file).attrs["hessian_products"] == "exact"
        probe_training(tiny.setup(tmp_path, probe={"every": 4, "measures": ["sharpness"]}), QUIET, StopRequest())
