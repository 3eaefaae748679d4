"""The gradient noise scale on Gaussian data, where mean and covariance of the gradient are known."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import nn

from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import cross_entropy
from lossviz.probe.measure import Step
from lossviz.probe.measures.gradient_noise_scale import MINIBATCHES
from lossviz.probe.step import measure_step
from tests.closed_forms import Offset

SIZE, DIMENSIONS = 5, 4
COVARIANCE = np.diag([0.5, 1.0, 2.0, 4.0])
THETA = np.array([1.0, -1.0, 0.5, 2.0])


def noise_scale(data: Iterable[np.ndarray]) -> dict[str, float]:
    """Of |theta - x|^2 / 2, with gradient theta - x, and x in minibatches (size, DIMENSIONS)."""
    objective = Objective(Offset(torch.from_numpy(THETA)), lambda outputs, _: outputs.square().sum(dim=1) / 2)
    batches = [Minibatch((torch.from_numpy(inputs), torch.zeros(len(inputs))), i) for i, inputs in enumerate(data)]
    step = Step(objective, batches[0], Probe(measures=("gradient-noise-scale",)), later=batches.__getitem__)
    return {name: float(value) for name, value in measure_step(step).items()}


def test_analysis_of_variance() -> None:
    """tr(S) is the variance between the minibatches' means, times their size; with it |m|^2 loses its bias."""
    data = np.random.default_rng(0).normal(size=(MINIBATCHES, SIZE, DIMENSIONS))
    means = THETA - data.mean(axis=1)
    variance = SIZE * means.var(axis=0, ddof=1).sum()
    signal = (means.mean(axis=0) ** 2).sum() - variance / (MINIBATCHES * SIZE)
    found = noise_scale(data)
    np.testing.assert_allclose(found["gradient_variance"], variance, rtol=1e-10)
    np.testing.assert_allclose(found["gradient_signal"], signal, rtol=1e-10)
    np.testing.assert_allclose(found["gradient_noise_scale"], variance / signal, rtol=1e-10)


@pytest.mark.parametrize("sizes", [[SIZE] * MINIBATCHES, [1, 2, 3, 4, 5, 6, 9, 10]], ids=["one size", "many"])
def test_gaussian_data(sizes: list[int]) -> None:
    """x ~ N(0, C): tr(S) = tr(C) and G = theta. Means of 400 estimates lie within four of their standard errors."""
    draws = np.random.default_rng(1)
    ends = np.cumsum(sizes)[:-1]
    shape = (400, sum(sizes), DIMENSIONS)
    found = [noise_scale(np.split(data, ends)) for data in draws.normal(size=shape) @ np.sqrt(COVARIANCE)]
    for name, true in (("gradient_variance", np.trace(COVARIANCE)), ("gradient_signal", THETA @ THETA)):
        values = np.array([each[name] for each in found])
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - true) < 4 * error
        assert error < 0.05 * true


def test_examples_that_the_loss_ignores_do_not_count() -> None:
    """As if they were not there; a batch of them alone has no gradient."""
    draws = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 2).double()
    parts = [torch.randn(4, 3, generator=draws, dtype=torch.float64) for _ in range(MINIBATCHES)]
    labels = torch.tensor([0, 1, 1, 0])

    def measured(ignored: int) -> dict[str, float]:
        targets = torch.cat([labels, torch.full((ignored,), -100)])
        batches = [Minibatch((torch.cat([part, part[:ignored]]), targets), None) for part in parts]
        objective = Objective(model, OfOutputs(cross_entropy, counts=True))
        step = Step(objective, batches[0], Probe(measures=("gradient-noise-scale",)), later=batches.__getitem__)
        return {name: float(value) for name, value in measure_step(step).items()}

    assert measured(3) == pytest.approx(measured(0), rel=1e-12)
    labels.fill_(-100)
    assert np.isnan(measured(0)["gradient_noise_scale"])
