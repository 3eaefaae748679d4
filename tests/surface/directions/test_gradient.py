"""The direction of steepest descent against closed forms."""

import numpy as np
import pytest
import torch

from lossviz.config.directions import Gradient
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import cross_entropy
from lossviz.surface.directions.gradient import descent, gradient_directions
from lossviz.surface.subspace import Subspace
from tests.closed_forms import Quadratic, TwoLayers
from tests.surface.directions.examples import in_batches, sources_of
from tests.surface.networks import flat, network


@pytest.mark.parametrize("size", [1, 4, 11])
def test_descent_of_a_quadratic(size: int) -> None:
    """-H (theta - mean x), with a ragged last batch, and never rescaled."""
    quadratic = Quadratic()
    sources = sources_of(quadratic.objective, in_batches(quadratic.inputs, quadratic.targets, size))
    found = descent(Subspace.of(quadratic.objective.model), sources, "all")
    np.testing.assert_allclose(flat(found), -quadratic.gradient(quadratic.theta), rtol=1e-12)


def test_descent_of_what_is_moved() -> None:
    layers = TwoLayers()
    sources = sources_of(layers.objective, [(layers.batch.inputs, layers.batch.targets)])
    first, second = descent(Subspace.of(layers.model).only({"1.weight"}), sources, "all")
    assert not first.any()
    np.testing.assert_allclose(second.numpy(), -layers.gradient(*layers.weights)[1], rtol=1e-12)


def test_in_eval_mode_and_without_a_trace() -> None:
    """The gradient is the one with running statistics; network, mode and .grad are left as they were."""
    model = network().train()
    subspace = Subspace.of(model, statistics=True)
    draws = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 2, 3, 3, dtype=torch.float64, generator=draws)
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sources = sources_of(Objective(model), in_batches(inputs, targets, 4), "xy")
    found = gradient_directions(Gradient(kind="gradient"), subspace, sources)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    reference = network().eval()
    gradient = torch.autograd.grad(cross_entropy(reference(inputs), targets).mean(), list(reference.parameters()))
    np.testing.assert_allclose(flat(subspace.parameters(found.vectors["x"])), -flat(gradient), rtol=1e-10)
    assert not any(part.any() for part in found.vectors["x"][6:])  # running statistics
    assert found.ranges == {"x": (-0.1, 0.4)}
