"""Eigenvectors of the Hessian against closed forms."""

import numpy as np
import torch

from lossviz.config.directions import Hessian
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector
from lossviz.surface.directions.hessian import hessian_directions
from lossviz.surface.directions.sources import Sources
from lossviz.surface.subspace import Subspace
from tests.closed_forms import Quadratic, TwoLayers
from tests.surface.directions.examples import in_batches, sources_of
from tests.surface.networks import flat, network


def eigenvectors(subspace: Subspace, sources: Sources, ranks: tuple[int, ...]) -> tuple[list[float], list[Vector]]:
    found = hessian_directions(Hessian(kind="hessian", eigenvectors=ranks), subspace, sources)
    return list(found.facts.values()), list(found.vectors.values())


def test_in_eval_mode_and_without_a_trace() -> None:
    """With running statistics, which have no part in the vector; network, mode and .grad are left as they were."""
    model = network().train()
    subspace = Subspace.of(model, statistics=True)
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 2, 3, 3, dtype=torch.float64, generator=draws)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sources = sources_of(Objective(model), in_batches(inputs, torch.arange(6) % 3, 4))
    found = hessian_directions(Hessian(kind="hessian"), subspace, sources)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert found.facts["x_eigenvalue"] > 0
    assert [part.shape for part in found.vectors["x"]] == [each.shape for each in subspace.theta]
    assert not any(part.any() for part in found.vectors["x"][6:])


def test_eigenvectors_of_a_quadratic() -> None:
    """Unit vectors with H v = lambda v, for the ranks asked for, in their order."""
    quadratic = Quadratic()
    sources = sources_of(quadratic.objective, in_batches(quadratic.inputs, quadratic.targets, 4), "xy")
    values, vectors = eigenvectors(Subspace.of(quadratic.objective.model), sources, (-1, 2))
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
    sources = sources_of(layers.objective, [(layers.batch.inputs, layers.batch.targets)])
    (value,), ((first, second),) = eigenvectors(Subspace.of(layers.model).only({"1.weight"}), sources, (1,))
    hessian = two_layer_hessian(layers)
    np.testing.assert_allclose(value, np.linalg.eigvalsh(hessian)[-1], rtol=1e-6)
    np.testing.assert_allclose(hessian @ flat([second]), value * flat([second]), atol=1e-2 * value)
    np.testing.assert_allclose(np.linalg.norm(flat([second])), 1, rtol=1e-9)
    assert not first.any()


def test_eigenvectors_across_tensors_stay_eigenvectors() -> None:
    """Of all weights together, against the dense Hessian of autograd."""
    layers = TwoLayers()
    sources = sources_of(layers.objective, [(layers.batch.inputs, layers.batch.targets)], "xy")
    values, vectors = eigenvectors(Subspace.of(layers.model), sources, (1, -1))

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
