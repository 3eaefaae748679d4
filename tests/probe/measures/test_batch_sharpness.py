"""Batch sharpness of linear regression, whose minibatches all have their own Hessian, by formula."""

import numpy as np
import pytest
import torch
from torch import nn

from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.probe.measure import Step
from lossviz.probe.measures.batch_sharpness import MINIBATCHES
from lossviz.probe.step import measure_step


def test_linear_regression() -> None:
    """L_B = |X w - t|^2 / (2 n): g_B = X'(X w - t) / n, H_B = X'X / n."""
    draws = np.random.default_rng(0)
    x, t = draws.normal(size=(MINIBATCHES, 5, 3)), draws.normal(size=(MINIBATCHES, 5, 1))
    model = nn.Linear(3, 1, bias=False).double()
    w = model.weight.detach().numpy()[0]
    expected = []
    for inputs, targets in zip(x, t[:, :, 0], strict=True):
        g = inputs.T @ (inputs @ w - targets) / 5
        expected.append(g @ (inputs.T @ inputs / 5) @ g / (g @ g))
    batches = [
        Minibatch((torch.from_numpy(a), torch.from_numpy(b)), i) for i, (a, b) in enumerate(zip(x, t, strict=True))
    ]
    objective = Objective(model, lambda outputs, targets: (outputs - targets).square().sum(dim=1) / 2)
    step = Step(objective, batches[0], Probe(measures=("batch-sharpness",)), later=batches.__getitem__)
    found = measure_step(step)["batch_sharpness"]
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-10)
    assert np.std(expected) > 0.1 * np.mean(expected)


def test_later_minibatches_must_be_known() -> None:
    objective = Objective(nn.Linear(3, 2))
    step = Step(
        objective, Minibatch((torch.randn(4, 3), torch.zeros(4).long()), 0), Probe(measures=("batch-sharpness",))
    )
    with pytest.raises(ValueError, match="minibatches of later steps"):
        measure_step(step)
