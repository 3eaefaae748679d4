"""Lanczos against dense Hessians in float64."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.errors import WorkError
from lossviz.probe.sharpness import hessian_vector_product, lanczos, sharpness
from tests.closed_forms import Quadratic, TwoLayers


def test_quadratic() -> None:
    quadratic = Quadratic(size=12)
    found = sharpness(quadratic.objective, [quadratic.batch], 3)
    np.testing.assert_allclose(found, np.sort(quadratic.eigenvalues)[::-1][:3], rtol=1e-4)


def dense(model: nn.Module, batch: Minibatch) -> np.ndarray:
    """Every second derivative, by autograd."""
    names = [name for name, _ in model.named_parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]
    sizes = [parameter.numel() for parameter in model.parameters()]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [part.view(shape) for part, shape in zip(torch.split(flat, sizes), shapes, strict=True)]
        return functional.cross_entropy(
            functional_call(model, dict(zip(names, parts, strict=True)), (batch.inputs,)), batch.targets
        )

    point = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return np.asarray(hessian(loss, point))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_against_the_dense_hessian(activation: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), activation(), nn.Linear(6, 3)).double().train()
    batch = Minibatch(torch.randn(16, 5, dtype=torch.float64), torch.arange(16) % 3, 0)
    matrix = dense(model, batch)
    objective = Objective(model)
    vector = torch.randn(len(matrix), dtype=torch.float64)
    sizes = [parameter.numel() for parameter in model.parameters()]
    parts = [
        part.view_as(parameter) for part, parameter in zip(torch.split(vector, sizes), model.parameters(), strict=True)
    ]
    np.testing.assert_allclose(
        hessian_vector_product(objective, [batch], parts), matrix @ vector.numpy(), rtol=1e-8, atol=1e-12
    )
    found = sharpness(objective, [batch], 4)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(matrix)[::-1][:4], rtol=1e-4)


def test_the_largest_is_algebraic() -> None:
    """A negative eigenvalue of larger size is not the sharpness."""
    hessian_matrix = torch.diag(torch.tensor([-9.0, 1.0, 2.0, 0.5, 0.1], dtype=torch.float64))
    quadratic = Quadratic(size=5)
    quadratic.objective.loss = lambda outputs, _: ((outputs @ hessian_matrix) * outputs).sum(dim=1) / 2
    np.testing.assert_allclose(sharpness(quadratic.objective, [quadratic.batch], 1), [2.0], rtol=1e-4)


def test_ragged_batches_weigh_by_their_examples() -> None:
    layers = TwoLayers()
    whole = layers.batch
    parts = [Minibatch(whole.inputs[a:b], whole.targets[a:b], 0) for a, b in ((0, 4), (4, 8), (8, 9))]
    np.testing.assert_allclose(
        sharpness(layers.objective, parts, 2), sharpness(layers.objective, [whole], 2), rtol=1e-6
    )


def test_more_eigenvalues_than_lanczos_can_give() -> None:
    """Of a tiny network the whole spectrum may be asked for."""
    quadratic = Quadratic(size=4)
    np.testing.assert_allclose(
        sharpness(quadratic.objective, [quadratic.batch], 4), np.sort(quadratic.eigenvalues)[::-1]
    )


def test_no_curvature_and_not_finite() -> None:
    quadratic = Quadratic()
    quadratic.objective.loss = lambda outputs, _: outputs.sum(dim=1)
    np.testing.assert_allclose(sharpness(quadratic.objective, [quadratic.batch], 2), [0, 0], atol=1e-12)
    quadratic.objective.loss = lambda outputs, _: (outputs * float("inf")).square().sum(dim=1)
    assert sharpness(quadratic.objective, [quadratic.batch], 2).isnan().all()


class Once(torch.autograd.Function):
    """Identity that can be differentiated once."""

    @staticmethod
    def forward(_: object, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.clone()


def test_without_second_derivatives() -> None:
    quadratic = Quadratic()
    loss = quadratic.objective.loss
    quadratic.objective.loss = lambda outputs, targets: loss(Once.apply(outputs), targets)
    with pytest.raises(WorkError, match="second derivatives"):
        sharpness(quadratic.objective, [quadratic.batch], 1)


def test_a_small_eigenvalue_beside_a_large_negative_one() -> None:
    """Accuracy is relative to the size of the operator: asked for relative to 0.001 it would not end in float32."""
    spectrum = torch.linspace(-50, 0.001, 400, dtype=torch.float64)
    products = 0

    def product(vector: torch.Tensor) -> torch.Tensor:
        nonlocal products
        products += 1
        return spectrum * vector * (1 + 1e-6 * torch.randn(400))

    found = lanczos(product, torch.randn(400, dtype=torch.float64), 2)
    assert products <= 200
    np.testing.assert_allclose(found, [0.001, 0.001 - 50.001 / 399], atol=50 * 1e-3)


@pytest.mark.parametrize(
    ("spectrum", "expected"), [((10, 10, 3, 1, 0.5), (10, 10)), ((2, 2, 1.3, 1.3, -7), (2, 2, 1.3))]
)
def test_repeated_eigenvalues(spectrum: tuple[float, ...], expected: tuple[float, ...]) -> None:
    matrix = torch.diag(torch.tensor(spectrum, dtype=torch.float64))
    start = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(lanczos(lambda vector: matrix @ vector, start, len(expected)), expected, rtol=1e-6)
