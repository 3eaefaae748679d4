"""Critical sharpness against the closed form on quadratics, and on functions whose crossing is known."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from lossviz.config.probe import Probe
from lossviz.config.train import Train
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.probe.measure import Step
from lossviz.probe.measures.critical_sharpness import crossing
from lossviz.probe.step import measure_step
from lossviz.training.stepper import Stepper
from tests.closed_forms import Offset, Quadratic

CONFIG = Probe(measures=("critical-sharpness",))
OPTIMISERS = [
    Train(steps=9, lr=0.1),
    Train(steps=9, lr=1e-4, weight_decay=0.01),
    Train(steps=9, lr=3.0, momentum=0.9, nesterov=True),
    Train(steps=9, lr=0.01, optimizer="adam"),
]


@pytest.mark.parametrize("train", OPTIMISERS, ids=lambda train: f"{train.optimizer}-{train.lr}")
def test_quadratic(train: Train) -> None:
    """D'HD / <g, D>, for the D of torch's optimiser after one step that it remembers."""
    quadratic = Quadratic()
    theta = quadratic.objective.parameters[0]
    copy = torch.nn.Parameter(theta.detach().clone())
    adam = torch.optim.Adam([copy], lr=train.lr)
    sgd = torch.optim.SGD([copy], train.lr, train.momentum, weight_decay=train.weight_decay, nesterov=train.nesterov)
    theirs = adam if train.optimizer == "adam" else sgd
    stepper = Stepper(train, [theta])
    before = np.zeros(0)
    for last in (False, True):
        before = copy.detach().numpy().copy()
        gradient = quadratic.gradient(before)
        copy.grad = torch.from_numpy(gradient)
        theirs.step()
        if not last:
            stepper.take([torch.from_numpy(gradient)], 0)
    direction = (before - copy.detach().numpy()) / train.lr
    expected = direction @ quadratic.hessian @ direction / (quadratic.gradient(before) @ direction)
    step = Step(quadratic.objective, quadratic.batch, CONFIG, rate=train.lr, preview=partial(stepper.preview, step=1))
    found = measure_step(step)
    np.testing.assert_allclose(found["critical_sharpness"], expected, rtol=1e-7)
    np.testing.assert_array_equal(theta.detach().numpy(), before)


def at_one(loss: Callable[[Tensor], Tensor], rate: float = 0.1, slope: float = 1.0) -> float:
    """Of a function of one parameter at 1, along its gradient times a number."""
    model = Offset(torch.ones(1, dtype=torch.float64))
    objective = Objective(model, lambda outputs, _: loss(outputs[:, 0]))
    batch = Minibatch((torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1)), 0)
    step = Step(
        objective,
        batch,
        CONFIG,
        rate=rate,
        preview=lambda gradient: [model.theta.detach() - slope * rate * gradient[0]],
    )
    return float(measure_step(step)["critical_sharpness"])


@pytest.mark.parametrize("rate", [1e-6, 0.1, 0.5, 1e3])
def test_quartic(rate: float) -> None:
    """theta^4 at 1: D = 4, and the loss is higher from theta - eta D = -1 on."""
    assert at_one(lambda theta: theta**4, rate) == pytest.approx(4, rel=1 / 64)


def test_a_wall_of_infinite_loss() -> None:
    """Theta above zero, infinite below it: D = 1."""
    found = at_one(lambda theta: torch.where(theta < 0, math.inf * theta.detach().abs(), theta))
    assert found == pytest.approx(2, rel=1 / 64)


def test_no_crossing() -> None:
    assert at_one(lambda theta: theta) == 0
    assert at_one(lambda theta: theta**2, slope=-1) == math.inf
    assert math.isnan(at_one(lambda theta: theta**2, rate=0))
    assert math.isnan(at_one(lambda theta: theta * math.nan))


@pytest.mark.parametrize("start", [0.4, 1.0, 3.0])
def test_few_passes(start: float) -> None:
    seen = []

    def rise(eta: float) -> tuple[float, float]:
        seen.append(eta)
        return eta, eta**3 - 1

    assert crossing(rise, start) == pytest.approx(1, rel=1 / 64)
    assert len(seen) <= 10
