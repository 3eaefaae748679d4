"""The gradient and eigenvectors of the Hessian against closed forms."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from lossviz.engine.objective import Objective, cross_entropy
from lossviz.surface.derivatives import descent, eigenvectors
from lossviz.surface.moving import moving, parameters_of
from tests.closed_forms import Quadratic, TwoLayers
from tests.surface.networks import flat, network


def batches(inputs: Tensor, targets: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(inputs, size), torch.split(targets, size), strict=True)


@pytest.mark.parametrize("size", [1, 4, 11])
def test_descent_of_a_quadratic(size: int) -> None:
    """-H (theta - mean x), with a ragged last batch, and never rescaled."""
    quadratic = Quadratic()
    coordinates = moving(quadratic.objective.model, statistics=False)
    data = batches(quadratic.inputs, quadratic.targets, size)
    found = descent(quadratic.objective, coordinates, {"theta"}, data)
    np.testing.assert_allclose(flat(found), -quadratic.gradient(quadratic.theta), rtol=1e-12)


def test_descent_of_what_is_moved() -> None:
    layers = TwoLayers()
    coordinates = moving(layers.model, statistics=False)
    data = [(layers.batch.inputs, layers.batch.targets)]
    first, second = descent(layers.objective, coordinates, {"1.weight"}, data)
    assert not first.any()
    np.testing.assert_allclose(second.numpy(), -layers.gradient(*layers.weights)[1], rtol=1e-12)


def test_in_eval_mode_and_without_a_trace() -> None:
    """The gradient is the one with running statistics; network, mode and .grad are left as they were."""
    model = network().train()
    objective, coordinates = Objective(model), moving(model, statistics=True)
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 2, 3, 3, dtype=torch.float64, generator=draws)
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    everything = {each.name for each in coordinates}
    found = descent(objective, coordinates, everything, batches(inputs, targets, 4))
    (value,), (vector,) = eigenvectors(objective, coordinates, everything, batches(inputs, targets, 4), [1])
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    reference = network().eval()
    gradient = torch.autograd.grad(cross_entropy(reference(inputs), targets).mean(), list(reference.parameters()))
    np.testing.assert_allclose(flat(parameters_of(coordinates, found)), -flat(gradient), rtol=1e-10)
    assert value > 0
    assert [part.shape for part in vector] == [each.tensor.shape for each in coordinates]
    assert not any(part.any() for part in [*found[6:], *vector[6:]])  # running statistics


def test_eigenvectors_of_a_quadratic() -> None:
    """Unit vectors with H v = lambda v, for the ranks asked for, in their order."""
    quadratic = Quadratic()
    coordinates = moving(quadratic.objective.model, statistics=False)
    data = batches(quadratic.inputs, quadratic.targets, 4)
    values, vectors = eigenvectors(quadratic.objective, coordinates, {"theta"}, data, [-1, 2])
    expected = [quadratic.eigenvalues[0], quadratic.eigenvalues[-2]]
    np.testing.assert_allclose(values, expected, rtol=1e-3)
    for value, vector in zip(values, vectors, strict=True):
        v = flat(vector)
        np.testing.assert_allclose(np.linalg.norm(v), 1, rtol=1e-9)
        np.testing.assert_allclose(quadratic.hessian @ v, value * v, atol=1e-2 * 8)


def two_layer_hessian(layers: TwoLayers) -> np.ndarray:
    """Of the second layer's weights: W2 -> mean |W2 h - t|^2 / 2 is quadratic, with I (x) mean h h^T."""
    hidden = layers.x @ layers.weights[0].T
    return np.kron(np.eye(2), hidden.T @ hidden / len(hidden))


def test_eigenvectors_over_what_is_moved_stay_eigenvectors() -> None:
    """Zero elsewhere, and nobody has rescaled them tensor by tensor."""
    layers = TwoLayers()
    coordinates = moving(layers.model, statistics=False)
    data = [(layers.batch.inputs, layers.batch.targets)]
    (value,), ((first, second),) = eigenvectors(layers.objective, coordinates, {"1.weight"}, data, [1])
    hessian = two_layer_hessian(layers)
    np.testing.assert_allclose(value, np.linalg.eigvalsh(hessian)[-1], rtol=1e-6)
    np.testing.assert_allclose(hessian @ flat([second]), value * flat([second]), atol=1e-2 * value)
    np.testing.assert_allclose(np.linalg.norm(flat([second])), 1, rtol=1e-9)
    assert not first.any()


def test_eigenvectors_across_tensors_stay_eigenvectors() -> None:
    """Of all weights together, against the dense Hessian of autograd."""
    layers = TwoLayers()
    coordinates = moving(layers.model, statistics=False)
    data = [(layers.batch.inputs, layers.batch.targets)]
    names = {each.name for each in coordinates}
    values, vectors = eigenvectors(layers.objective, coordinates, names, data, [1, -1])

    theta = torch.cat([torch.from_numpy(each).flatten() for each in layers.weights]).requires_grad_()
    w1, w2 = theta[:12].view(4, 3), theta[12:].view(2, 4)
    loss = (layers.batch.inputs @ w1.T @ w2.T - layers.batch.targets).square().sum() / 18
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
    rows = [torch.autograd.grad(each, theta, retain_graph=True)[0] for each in gradient]
    hessian = torch.stack(rows).numpy()
    dense = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(values, [dense[-1], dense[0]], rtol=1e-3)
    for value, vector in zip(values, vectors, strict=True):
        np.testing.assert_allclose(hessian @ flat(vector), value * flat(vector), atol=1e-2 * dense[-1])
