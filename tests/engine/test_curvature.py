"""Gradient and Hessian against dense matrices in float64 and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import (
    Hessian,
    eigenpairs,
    extremes,
    gradient_norm,
    mean_gradient,
)
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import PerExample, cross_entropy
from lossviz.errors import WorkError
from tests.closed_forms import Offset, Quadratic, TwoLayers
from tests.engine.dense import convolutions, cut, dense, diagonal, flat, images, weights


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sizes", [(13,), (5, 5, 3)])
def test_products(activation: type[nn.Module], training: bool, sizes: tuple[int, ...]) -> None:
    model, batch = convolutions(activation).train(training), images()
    parts = cut(batch, *sizes)
    # In training mode every batch has statistics of its own.
    matrix = np.sum([size / 13 * dense(model, part) for size, part in zip(sizes, parts, strict=True)], axis=0)
    product = Hessian(Objective(model), parts)
    for seed in range(2):
        vector = np.random.default_rng(seed).normal(size=len(matrix))
        found = product(torch.from_numpy(vector))
        np.testing.assert_allclose(found, matrix @ vector, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("subset", [False, True])
def test_eigenpairs(subset: bool) -> None:
    model, batch = convolutions(), images()
    parameters = weights(model) if subset else None
    moved = weights(model) if subset else list(model.parameters())
    matrix = dense(model, batch, parameters)
    eigenvalues, vectors = np.linalg.eigh(matrix)
    assert eigenvalues[0] < -1e-3  # else nothing is said about the smallest
    ranks = (2, 1, -1, -2)
    for rank, (value, parts) in zip(ranks, eigenpairs(Objective(model), [batch], ranks, parameters), strict=True):
        place = -rank if rank > 0 else -rank - 1
        np.testing.assert_allclose(value, eigenvalues[place], rtol=1e-6)
        assert [part.shape for part in parts] == [parameter.shape for parameter in moved]
        vector = flat(parts)
        assert abs(np.linalg.norm(vector) - 1) < 1e-12
        assert abs(vector @ vectors[:, place]) > 1 - 1e-6
        assert np.linalg.norm(matrix @ vector - value * vector) < 2e-4 * np.abs(eigenvalues[[-1, 0]]).max()


@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize("sizes", [(13,), (5, 5, 3)])
def test_extremes(subset: bool, sizes: tuple[int, ...]) -> None:
    model, batch = convolutions(nn.ReLU), images()
    parameters = weights(model) if subset else None
    eigenvalues = np.linalg.eigvalsh(dense(model, batch, parameters))
    assert eigenvalues[0] < -1e-3
    found = extremes(Objective(model), cut(batch, *sizes), parameters)
    np.testing.assert_allclose(found, eigenvalues[[0, -1]], rtol=1e-3)


def test_a_quadratic() -> None:
    quadratic = Quadratic(size=12)
    objective, batches = quadratic.objective, [quadratic.batch]
    np.testing.assert_allclose(extremes(objective, batches), quadratic.eigenvalues[[0, -1]], rtol=1e-4)
    for rank in (1, 5, -1, -12):
        ((value, (vector,)),) = eigenpairs(objective, batches, [rank])
        np.testing.assert_allclose(value, np.sort(quadratic.eigenvalues)[-rank if rank > 0 else -rank - 1], rtol=1e-6)
        np.testing.assert_allclose(quadratic.hessian @ vector.numpy(), value * vector.numpy(), atol=1e-3)


def test_ranks_are_algebraic() -> None:
    """A negative eigenvalue is not the largest, however large in size; equal ones count as often as they are there."""
    objective, batches = diagonal(-9, 2, 2, 0.5, -1)
    values = [value for value, _ in eigenpairs(objective, batches, [1, 2, 3, -1, -2])]
    np.testing.assert_allclose(values, [2, 2, 0.5, -9, -1], rtol=1e-6)
    np.testing.assert_allclose(extremes(objective, batches), (-9, 2), rtol=1e-6)


def test_one_batch_is_passed_through_once() -> None:
    model, batch = convolutions(), images()
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    model.register_forward_hook(count)
    once = extremes(Objective(model), [batch])
    assert passes == 1
    again = extremes(Objective(model), cut(batch, 7, 6))
    assert passes > 10
    np.testing.assert_allclose(once, again, rtol=1e-9)


def test_single_precision() -> None:
    batch = images()
    expected = np.linalg.eigvalsh(dense(convolutions(), batch))
    objective = Objective(convolutions().float())
    batches = [Minibatch((batch.inputs.float(), batch.targets), 0)]
    np.testing.assert_allclose(extremes(objective, batches), expected[[0, -1]], rtol=1e-3)
    ((value, parts),) = eigenpairs(objective, batches, [-1])
    np.testing.assert_allclose(value, expected[0], rtol=1e-3)
    assert {part.dtype for part in parts} == {torch.float32}
    double = Objective(convolutions())
    norm = gradient_norm(double, [batch], double.parameters)
    assert gradient_norm(objective, batches, objective.parameters) == pytest.approx(norm, rel=1e-5)


def test_the_gradient() -> None:
    layers = TwoLayers()
    parts, expected = cut(layers.batch, 4, 4, 1), layers.gradient(*layers.weights)
    found = mean_gradient(layers.objective, parts, layers.objective.parameters)
    for part, each in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, each, rtol=1e-12)
    whole = np.sqrt(sum(np.square(each).sum() for each in expected))
    assert gradient_norm(layers.objective, iter(parts), layers.objective.parameters) == pytest.approx(whole, rel=1e-12)
    second = gradient_norm(layers.objective, parts, layers.objective.parameters[1:])
    assert second == pytest.approx(np.linalg.norm(expected[1]), rel=1e-12)


def test_gradients_add_up_in_double_precision() -> None:
    """Of 1 and a thousand times 1e-8, each in a batch of its own, nothing is lost."""
    model = Offset(torch.zeros(1))
    objective = Objective(model, lambda outputs, targets: outputs[:, 0] * targets)
    values = torch.full((1001, 1), 1e-8)
    values[0] = 1.0
    batches = [Minibatch((torch.zeros(1, 1), value), 0) for value in values]
    expected = (1 + 1000 * float(values[1])) / 1001
    assert gradient_norm(objective, batches, objective.parameters) == pytest.approx(expected, rel=1e-12)


def test_no_curvature() -> None:
    quadratic = Quadratic()
    quadratic.objective.loss = OfOutputs(lambda outputs, _: outputs.sum(dim=1))
    assert extremes(quadratic.objective, [quadratic.batch]) == (0, 0)
    assert [value for value, _ in eigenpairs(quadratic.objective, [quadratic.batch], [1, -1])] == [0, 0]


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, _: (outputs * math.inf).square().sum(dim=1),
        lambda outputs, _: (outputs * math.nan).sum(dim=1),
        # Without second derivatives altogether: not a flat place.
        lambda outputs, _: outputs.sum(dim=1) * math.inf,
    ],
    ids=["infinite", "NaN", "infinite and linear"],
)
def test_not_finite(loss: PerExample, batches: int) -> None:
    quadratic = Quadratic()
    quadratic.objective.loss = OfOutputs(loss)
    parts = [quadratic.batch] * batches
    assert all(math.isnan(value) for value in extremes(quadratic.objective, parts))
    assert not math.isfinite(gradient_norm(quadratic.objective, parts, quadratic.objective.parameters))
    with pytest.raises(WorkError, match=r"eigenvector 1 of the Hessian of 6 parameters: .* is not finite"):
        eigenpairs(quadratic.objective, parts, [1])


def test_more_eigenvectors_than_parameters() -> None:
    objective, batches = diagonal(3, 2, 1)
    assert eigenpairs(objective, batches, [3])[0][0] == pytest.approx(1)
    with pytest.raises(WorkError, match="eigenvector -4 of the Hessian of 3 parameters"):
        eigenpairs(objective, batches, [1, -4])


def ignoring(batch: Minibatch, label: int) -> Minibatch:
    """Some labels in the first and the last of three batches are ignored."""
    targets = batch.targets.clone()
    targets[[0, 2, 3, 12]] = label
    return batch._replace(batch=(batch.inputs, targets))


@pytest.mark.parametrize(
    ("loss", "label"),
    [(cross_entropy, -100), (nn.CrossEntropyLoss(reduction="none", ignore_index=7), 7)],
)
@pytest.mark.parametrize("sizes", [(13,), (5, 5, 3)])
def test_examples_that_the_loss_ignores_do_not_count(loss: PerExample, label: int, sizes: tuple[int, ...]) -> None:
    """Gradient and Hessian of torch's own mean over the others."""
    model, batch = convolutions(), ignoring(images(), label)
    parameters, objective = list(model.parameters()), Objective(model, loss)
    kept = batch.targets != label
    others = Minibatch((batch.inputs[kept], batch.targets[kept]), 0)
    expected = torch.autograd.grad(
        functional.cross_entropy(model(batch.inputs), batch.targets, ignore_index=label), parameters
    )
    for found, wanted in zip(mean_gradient(objective, cut(batch, *sizes), parameters), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)
    values = np.linalg.eigvalsh(dense(model, others))
    assert extremes(objective, cut(batch, *sizes)) == pytest.approx((values[0], values[-1]), rel=1e-4)


def test_a_batch_of_padding_alone_adds_nothing() -> None:
    """Its own mean is 0 / 0; that of all batches is a ratio of sums, of which it has no part."""

    def squares(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, mask = batch
        return (model(inputs).squeeze(-1).square() * mask).sum(dim=1), mask.sum(dim=1)

    torch.manual_seed(0)
    inputs, mask = torch.randn(6, 5, 3).double(), torch.ones(6, 5).double()
    mask[1, 2:], mask[2:4] = 0, 0
    objective = Objective(nn.Linear(3, 1).double(), squares)
    pieces = (slice(6), slice(2), slice(2, 4), slice(4, 6))
    whole, *parts = (Minibatch((inputs[rows], mask[rows]), None) for rows in pieces)
    expected = objective.differentiate(whole)
    torch.testing.assert_close(mean_gradient(objective, parts, objective.parameters), expected.gradient)
    vector = torch.randn(4).double()
    torch.testing.assert_close(Hessian(objective, parts)(vector), Hessian(objective, [whole])(vector))
    found = [objective.differentiate(part, examples=17) for part in parts]  # as the pieces of a training step
    torch.testing.assert_close(torch.stack([each.loss for each in found]).sum(), expected.loss)
    for i, gradient in enumerate(expected.gradient):
        torch.testing.assert_close(torch.stack([each.gradient[i] for each in found]).sum(dim=0), gradient)
    assert Hessian(objective, parts[1:2])(vector).isnan().all()


def test_sparse_gradients_are_those_of_dense_ones() -> None:
    """Of nn.Embedding(sparse=True); a token that is drawn twice counts twice."""
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 3, sparse=sparse), nn.Flatten(), nn.Linear(6, 4))
        batch = Minibatch((torch.tensor([[0, 1], [3, 3], [1, 4]]), torch.tensor([0, 1, 2])), None)
        objective = Objective(model.double())
        gradient = objective.differentiate(batch).gradient
        vector = torch.linspace(-1, 1, sum(part.numel() for part in gradient), dtype=torch.float64)
        found.append(torch.cat([*(part.flatten() for part in gradient), Hessian(objective, [batch])(vector)]))
    assert torch.equal(*found)
