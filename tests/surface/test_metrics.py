"""Gradient norm and extreme curvatures at a point of a scan."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.config.surface import Metric
from lossviz.engine.objective import Objective
from lossviz.surface.metrics import point_metrics
from tests.closed_forms import Quadratic, TwoLayers


def in_batches(inputs: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))


@pytest.mark.parametrize("size", [11, 4])
def test_a_quadratic(size: int) -> None:
    quadratic = Quadratic()
    objective, batches = quadratic.objective, in_batches(quadratic.inputs, quadratic.targets, size)
    # A one-shot iterable does, also for products with the Hessian.
    found = point_metrics(objective, iter(batches), objective.parameters, ("gradient", "hessian"))
    assert found == {
        "grad_norm": pytest.approx(np.linalg.norm(quadratic.gradient(quadratic.theta)), rel=1e-12),
        "hessian_min": pytest.approx(0.5, rel=1e-4),
        "hessian_max": pytest.approx(8, rel=1e-4),
    }


@pytest.mark.parametrize(
    ("metrics", "names"), [((), set()), (("gradient",), {"grad_norm"}), (("hessian",), {"hessian_min", "hessian_max"})]
)
def test_what_is_asked_for(metrics: tuple[Metric, ...], names: set[str]) -> None:
    quadratic = Quadratic()
    batches = in_batches(quadratic.inputs, quadratic.targets, 4)
    assert set(point_metrics(quadratic.objective, batches, quadratic.objective.parameters, metrics)) == names


def test_of_the_parameters_that_move() -> None:
    """With the first matrix held, L is a quadratic in the second, of Hessian I (x) mean of h h^T with h = W1 x."""
    layers = TwoLayers()
    hidden = layers.x @ layers.weights[0].T
    eigenvalues = np.linalg.eigvalsh(np.kron(np.eye(2), hidden.T @ hidden / len(hidden)))
    batches = in_batches(layers.batch.inputs, layers.batch.targets, 4)
    found = point_metrics(layers.objective, batches, layers.objective.parameters[1:], ("gradient", "hessian"))
    # W1 has three columns, so h lies in a subspace: the smallest eigenvalue is zero.
    assert found["hessian_min"] == pytest.approx(eigenvalues[0], abs=1e-6)
    assert found["hessian_max"] == pytest.approx(eigenvalues[-1], rel=1e-4)
    assert found["grad_norm"] == pytest.approx(np.linalg.norm(layers.gradient(*layers.weights)[1]), rel=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_in_the_mode_that_is_set(training: bool) -> None:
    """By running statistics, normalisation is a fixed factor; by those of the batch it takes scale away."""
    norm = nn.BatchNorm1d(1, eps=1e-9, momentum=0.0, affine=False)
    model = nn.Sequential(nn.Linear(1, 1, bias=False), norm).double().train(training)
    weight = 0.7
    nn.init.constant_(next(model.parameters()), weight)
    objective = Objective(model, lambda outputs, _: outputs.square().sum(dim=1) / 2)
    inputs = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    found = point_metrics(objective, [(inputs, inputs)], objective.parameters, ("gradient", "hessian"))
    # In eval mode L = w^2 / 2; in training mode L = 1 / 2, whatever w.
    assert found["grad_norm"] == pytest.approx(0 if training else weight, abs=1e-6)
    assert found["hessian_max"] == pytest.approx(0 if training else 1, abs=1e-6)
    assert model.training == training


def test_a_point_that_is_not_finite() -> None:
    layers = TwoLayers()
    with torch.no_grad():
        layers.objective.parameters[0].fill_(math.inf)
    batches = in_batches(layers.batch.inputs, layers.batch.targets, 4)
    found = point_metrics(layers.objective, batches, layers.objective.parameters, ("gradient", "hessian"))
    assert not any(math.isfinite(value) for value in found.values())
    assert math.isnan(found["hessian_min"])
    assert math.isnan(found["hessian_max"])
