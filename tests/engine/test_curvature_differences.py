"""Products with the Hessian where the gradient has no derivative: torch's plain kernel, or finite differences."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import (
    DIFFERENCES,
    MATHS,
    Hessian,
    eigenpairs,
    extremes,
    products_of,
)
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from tests.closed_forms import Once, Quadratic
from tests.engine.dense import convolutions, cut, dense, images


def once(objective: Objective) -> Objective:
    """The same loss, whose gradient has no derivative."""
    loss = objective.loss
    assert isinstance(loss, OfOutputs)
    objective.loss = OfOutputs(lambda outputs, targets: loss(Once.apply(outputs), targets))
    return objective


def test_finite_differences_of_a_quadratic_are_exact() -> None:
    """Whatever the step; nothing is left but rounding."""
    quadratic = Quadratic(size=12)
    objective = once(quadratic.objective)
    (theta,) = objective.parameters
    theta.grad = kept = torch.ones_like(theta)
    value = theta.detach().clone()
    np.testing.assert_allclose(extremes(objective, [quadratic.batch]), quadratic.eigenvalues[[0, -1]], rtol=1e-4)
    ((found, (vector,)),) = eigenpairs(objective, [quadratic.batch], [1])
    np.testing.assert_allclose(found, quadratic.eigenvalues.max(), rtol=1e-6)
    np.testing.assert_allclose(quadratic.hessian @ vector.numpy(), found * vector.numpy(), atol=1e-3)
    products = products_of(objective.model)
    assert products.way == DIFFERENCES
    assert products.differences.step > 0.01 * float(value.norm())
    assert products.differences.error < 1e-12
    assert torch.equal(theta.detach(), value)
    assert theta.grad is kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sizes", [(13,), (5, 5, 3)])
def test_finite_differences_have_the_error_that_they_state(
    dtype: torch.dtype, training: bool, sizes: tuple[int, ...]
) -> None:
    """Against every second derivative in float64; |H v| of a unit vector is at most the largest eigenvalue."""
    parts = cut(images(), *sizes)
    exact = convolutions().train(training)
    matrix = np.sum([size / 13 * dense(exact, part) for size, part in zip(sizes, parts, strict=True)], axis=0)
    objective = once(Objective(convolutions().to(dtype).train(training)))
    hessian = Hessian(objective, [Minibatch((part.inputs.to(dtype), part.targets), part.noise) for part in parts])
    apart, largest = 0.0, 0.0
    drawn = np.random.default_rng(0).normal(size=(5, len(matrix)))
    for vector in (*drawn / np.linalg.norm(drawn, axis=1, keepdims=True), *np.linalg.eigh(matrix)[1].T[[0, -2, -1]]):
        found = hessian(torch.from_numpy(3 * vector)).numpy() / 3
        apart = max(apart, float(np.linalg.norm(found - matrix @ vector)))
        largest = max(largest, float(np.linalg.norm(matrix @ vector)))
        differences = hessian.products.differences
        assert apart <= differences.off
    assert differences.largest == pytest.approx(largest, rel=1e-2)
    assert differences.error == pytest.approx(differences.off / differences.largest)
    assert differences.error < (3e-2 if dtype == torch.float32 else 1e-6)
    attributes = hessian.products.attributes()
    assert attributes["hessian_products"] == "finite differences"
    assert attributes["hessian_step"] == differences.step > 0


@pytest.mark.parametrize("batches", [1, 2])
def test_finite_differences_of_a_loss_that_is_not_finite(batches: int) -> None:
    quadratic = Quadratic()
    objective = once(quadratic.objective)
    infinite = OfOutputs(lambda outputs, _: (Once.apply(outputs) * math.inf).square().sum(dim=1))
    objective.loss, finite = infinite, objective.loss
    parts = [quadratic.batch] * batches
    assert all(math.isnan(value) for value in extremes(objective, parts))
    objective.loss = finite  # as at the next point of a scan
    np.testing.assert_allclose(extremes(objective, parts), quadratic.eigenvalues[[0, -1]], rtol=1e-4)


def test_finite_differences_of_no_curvature() -> None:
    quadratic = Quadratic()
    objective = Objective(quadratic.objective.model, lambda outputs, _: Once.apply(outputs).square().sum(dim=1) * 0)
    assert extremes(objective, [quadratic.batch]) == (0, 0)
    assert products_of(objective.model).differences.error == 0


class Attention(nn.Module):
    """One head, by torch's fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.head = nn.Linear(4, 12), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        query, key, value = self.project(inputs).unsqueeze(1).chunk(3, dim=-1)
        attended = functional.scaled_dot_product_attention(query, key, value)
        outputs: Tensor = self.head(attended.squeeze(1).mean(dim=1))
        return outputs


def test_fused_attention_is_differentiated_by_the_plain_kernel() -> None:
    torch.manual_seed(0)
    model = Attention().double()
    batch = Minibatch((torch.randn(6, 5, 4, dtype=torch.float64), torch.arange(6) % 3), 0)
    hessian = Hessian(Objective(model), [batch])
    with sdpa_kernel(SDPBackend.MATH):
        matrix = dense(model, batch)
    for vector in np.random.default_rng(0).normal(size=(3, len(matrix))):
        np.testing.assert_allclose(hessian(torch.from_numpy(vector)), matrix @ vector, rtol=1e-9, atol=1e-12)
    assert hessian.products.attributes() == {"hessian_products": MATHS}


def test_second_derivatives_stay_as_they_were_where_there_are_some() -> None:
    model = convolutions()
    Hessian(Objective(model), [images()])(torch.ones(sum(each.numel() for each in model.parameters())).double())
    assert products_of(model).attributes() == {"hessian_products": "exact"}
