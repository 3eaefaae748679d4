from typing import Any

import numpy as np
import pytest
import torch

from lossviz.config.train import Train
from lossviz.plot.kit.edge import edge_formula, edge_notes, edge_of, learning_rates
from lossviz.training.stepper import make_optimizer
from tests.plot.conftest import Build, configuration


def config(**keys: Any) -> Train:
    return Train.model_validate({"steps": 100, "lr": 0.1, **keys})


def distance_after(optimizer: torch.optim.Optimizer, x: torch.Tensor, curvature: float, steps: int = 300) -> float:
    """Of x from the minimum of curvature/2 * x^2, relative to its first."""
    first = abs(float(x))
    for _ in range(steps):
        x.grad = curvature * x.detach()
        optimizer.step()
    return abs(float(x)) / first


@pytest.mark.parametrize(
    "keys",
    [{}, *({"momentum": beta, "nesterov": nesterov} for beta in (0.5, 0.9) for nesterov in (False, True))],
    ids=str,
)
@pytest.mark.parametrize("rate", [0.1, 0.003])
def test_steps_shrink_just_below_the_edge_and_grow_just_above(keys: dict[str, Any], rate: float) -> None:
    train = config(lr=rate, **keys)
    found = edge_formula(train)
    assert found is not None
    edge = found[1] / rate
    for curvature, shrinks in ((0.99 * edge, True), (1.01 * edge, False)):
        x = torch.ones((), dtype=torch.float64)
        assert (distance_after(make_optimizer(train, [x]), x, curvature) < 1) is shrinks


@pytest.mark.parametrize("beta", [0.9, 0.5])
def test_the_edge_of_adam_is_that_of_its_preconditioned_hessian(build: Build, beta: float) -> None:
    results = build.layered().assign_attrs(
        configuration=configuration(f"train.betas=[{beta}, 0.99]", "train.optimizer=adam")
    )
    (series,) = build.series(results)
    assert edge_of(series) is None
    factor = (2 + 2 * beta) / (1 - beta)
    assert edge_notes([series])[0].startswith(
        f"standard: no edge is drawn. That of Adam, {factor:g}/η for β₁ = {beta}, "
    )
    for curvature, shrinks in ((0.99 * factor / 0.1, True), (1.01 * factor / 0.1, False)):
        # With such small gradients the preconditioner is 1 / eps = 1; the first steps are longer.
        x = torch.tensor(1e-30, dtype=torch.float64)
        optimizer = torch.optim.Adam([x], 0.1, betas=(beta, 0.99), eps=1.0)
        assert (distance_after(optimizer, x, curvature, 1500) < 1) is shrinks


def test_rates_are_those_of_the_training_and_beyond_it_those_of_the_schedule(build: Build) -> None:
    trained = build.train(recorded=60)
    trained["lr"] = trained.lr + 0.001 * trained.step
    train = config(schedule={"kind": "step", "milestones": (80,), "gamma": 0.5})
    steps = np.array([0, 50, 70, 80])
    np.testing.assert_allclose(learning_rates(train, steps, trained), [0.1, 0.15, 0.1, 0.05])
    np.testing.assert_allclose(learning_rates(train, steps, None), [0.1, 0.1, 0.1, 0.05])


def test_rates_after_plateaus_come_from_the_evaluations(build: Build) -> None:
    train = config(schedule={"kind": "plateau", "patience": 1, "gamma": 0.5})
    trained = build.train(recorded=60)
    trained["val_error"] = trained.val_error.copy(data=[5.0, 4.0, 4.0])
    np.testing.assert_allclose(learning_rates(train, np.array([60]), trained), [0.05])
    assert np.isnan(learning_rates(train, np.array([60]), None)).all()


def test_without_a_rate_there_is_no_edge(build: Build) -> None:
    results = build.layered(steps=[0, 100, 200])
    (series,) = build.series(results.assign_attrs(configuration=configuration("train.schedule={kind: cosine}")))
    edge = edge_of(series)
    assert edge is not None
    np.testing.assert_allclose(edge.values, [20, 40, np.nan])
