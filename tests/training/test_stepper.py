from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lossviz.config.schedule import learning_rate
from lossviz.config.train import Train
from lossviz.training.stepper import make_optimizer

Gradient = Callable[[np.ndarray], np.ndarray]


def config(**keys: Any) -> Train:
    return Train.model_validate({"steps": 100, "lr": 0.4, **keys})


def valley(theta: np.ndarray) -> np.ndarray:
    """Gradient of a function that is no parabola."""
    return np.asarray(np.array([4.0, 1.0, 0.25]) * theta + np.sin(theta))


def torch_path(train: Train, gradient: Gradient, steps: int = 6) -> np.ndarray:
    theta = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer(train, [theta])
    path = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(train, step)
        theta.grad = torch.from_numpy(gradient(theta.detach().numpy()))
        optimizer.step()
        path.append(theta.detach().numpy().copy())
    return np.array(path)


def sgd(train: Train, gradient: Gradient) -> Iterator[np.ndarray]:
    """Sutskever et al. 2013 in torch's form: v = mu v + g; theta -= lr v, or lr (g + mu v) with Nesterov."""
    theta, velocity = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    for step in range(6):
        slope = gradient(theta) + train.weight_decay * theta
        velocity = train.momentum * velocity + slope
        theta = theta - learning_rate(train, step) * (slope + train.momentum * velocity if train.nesterov else velocity)
        yield theta


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_sgd_by_hand(momentum: float, nesterov: bool, weight_decay: float) -> None:
    train = config(
        lr=0.1,
        momentum=momentum,
        nesterov=nesterov and momentum > 0,
        weight_decay=weight_decay,
        schedule={"kind": "step", "milestones": (3,)},
    )
    np.testing.assert_allclose(torch_path(train, valley), list(sgd(train, valley)), rtol=1e-13)


def adam(train: Train, gradient: Gradient, apart: bool) -> Iterator[np.ndarray]:
    """Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2, when the decay acts apart."""
    theta, first, second = np.array([1.0, -2.0, 3.0]), np.zeros(3), np.zeros(3)
    for step in range(6):
        slope = gradient(theta) + (0 if apart else train.weight_decay) * theta
        rate = learning_rate(train, step)
        theta = theta * (1 - rate * train.weight_decay) if apart else theta
        first = train.betas[0] * first + (1 - train.betas[0]) * slope
        second = train.betas[1] * second + (1 - train.betas[1]) * slope**2
        unbiased = [
            moment / (1 - beta ** (step + 1)) for moment, beta in zip((first, second), train.betas, strict=True)
        ]
        theta = theta - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        yield theta


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.8)])
def test_adam_by_hand(name: str, betas: tuple[float, float]) -> None:
    train = config(optimizer=name, lr=0.1, betas=betas, weight_decay=0.3, warmup=3)
    expected = list(adam(train, valley, apart=name == "adamw"))
    np.testing.assert_allclose(torch_path(train, valley), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_penalty_decay_is_what_the_update_adds_to_the_gradient(name: str) -> None:
    # Where the penalty is part of the loss, an update with a decay is one with the penalty's gradient added.
    decayed, plain = config(optimizer=name, weight_decay=0.3), config(optimizer=name, weight_decay=0.0)
    decay = decayed.penalty_decay
    as_loss = torch_path(plain, lambda theta: valley(theta) + 0.3 * theta)
    agree = np.allclose(torch_path(decayed, valley), as_loss, rtol=1e-12)
    assert (decay, agree) == ((0.0, False) if name == "adamw" else (0.3, True))
