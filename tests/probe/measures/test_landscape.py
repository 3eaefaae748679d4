"""The landscape along the gradient against formulas, and the promise to leave no trace."""

import numpy as np
import pytest
import torch
from torch import nn

from lossviz.config.model import Vgg
from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.models.build import build
from lossviz.probe.measure import Step
from lossviz.probe.step import measure_step
from tests.closed_forms import Quadratic, TwoLayers

LENGTHS = (0.01, 0.05, 0.3)


def landscape(
    objective: Objective, batch: Minibatch, lengths: tuple[float, ...], weight_decay: float = 0.0
) -> dict[str, torch.Tensor]:
    return measure_step(Step(objective, batch, Probe(lengths=lengths), weight_decay=weight_decay))


def test_quadratic() -> None:
    """Loss by formula; gradient distance is exactly eta |H g|; smoothness lies between the extreme eigenvalues."""
    quadratic = Quadratic()
    found = landscape(quadratic.objective, quadratic.batch, LENGTHS, weight_decay=0.2)
    g = quadratic.gradient(quadratic.theta)
    moved = [quadratic.theta - eta * g for eta in LENGTHS]
    expected = {
        "loss": quadratic.losses(quadratic.theta).mean(),
        "grad_norm": np.linalg.norm(g),
        "penalty": 0.1 * quadratic.theta @ quadratic.theta,
        "path_loss": [quadratic.losses(theta).mean() for theta in moved],
        "path_penalty": [0.1 * theta @ theta for theta in moved],
        "grad_distance": [eta * np.linalg.norm(quadratic.hessian @ g) for eta in LENGTHS],
        "grad_cosine": [
            g @ quadratic.gradient(theta) / np.linalg.norm(g) / np.linalg.norm(quadratic.gradient(theta))
            for theta in moved
        ],
        "smoothness": [np.linalg.norm(quadratic.hessian @ g) / np.linalg.norm(g)] * len(LENGTHS),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-10, err_msg=name)
    assert np.all(found["smoothness"].numpy() >= quadratic.eigenvalues.min())
    assert np.all(found["smoothness"].numpy() <= quadratic.eigenvalues.max())


def test_two_linear_layers() -> None:
    """All parameters count, each with its own gradient, at the base and at the moved point."""
    layers = TwoLayers()
    found = landscape(layers.objective, layers.batch, LENGTHS)
    base = layers.gradient(*layers.weights)
    norm = np.sqrt(sum((part**2).sum() for part in base))
    for i, eta in enumerate(LENGTHS):
        moved = [weight - eta * part for weight, part in zip(layers.weights, base, strict=True)]
        there = layers.gradient(moved[0], moved[1])
        distance = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(base, there, strict=True)))
        np.testing.assert_allclose(found["path_loss"][i], layers.loss(moved[0], moved[1]), rtol=1e-10)
        np.testing.assert_allclose(found["grad_distance"][i], distance, rtol=1e-10)
        np.testing.assert_allclose(found["smoothness"][i], distance / (eta * norm), rtol=1e-10)


def test_lengths_are_measured_from_the_same_point() -> None:
    """One length alone gives bitwise what it gives among others: nothing accumulates from point to point."""
    quadratic = Quadratic()
    together = landscape(quadratic.objective, quadratic.batch, LENGTHS)
    for i, eta in enumerate(LENGTHS):
        alone = landscape(quadratic.objective, quadratic.batch, (eta,))
        assert torch.equal(alone["path_loss"][0], together["path_loss"][i])
        assert torch.equal(alone["grad_distance"][0], together["grad_distance"][i])


def test_not_finite_is_a_result() -> None:
    """A step that overflows is kept as it is, and the other lengths do not suffer."""
    quadratic = Quadratic()
    found = landscape(quadratic.objective, quadratic.batch, (0.1, 1e300))
    assert found["path_loss"][0].isfinite()
    assert not found["path_loss"][1].isfinite()
    assert torch.equal(quadratic.objective.parameters[0].detach(), torch.from_numpy(quadratic.theta))


def test_zero_gradient() -> None:
    """At a minimum there is no direction: smoothness is 0/0, and says so."""
    quadratic = Quadratic()
    with torch.no_grad():
        quadratic.objective.parameters[0].copy_(torch.from_numpy(quadratic.data.mean(axis=0)))
    # Bitwise zero needs a gradient without rounding: one example at theta itself.
    batch = Minibatch((quadratic.objective.parameters[0].detach().clone()[None], quadratic.targets[:1]), 0)
    found = landscape(quadratic.objective, batch, (0.1,))
    assert found["grad_norm"] == 0
    assert found["grad_distance"][0] == 0
    assert found["smoothness"][0].isnan()


def noisy_network() -> nn.Module:
    """Everything that could leave a trace: BatchNorm, noise, dropout, modules in different modes."""
    config = Vgg(name="vgg", depth=9, width=0.0625, norm="noisy-batch")
    model = nn.Sequential(build(config, 1, 10), nn.Dropout(0.5), nn.Linear(10, 10))
    model.train()
    model[1].eval()
    return model


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all that a measurement might disturb."""
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {
        **{f"tensor {name}": tensor.clone() for name, tensor in model.state_dict().items()},
        **{f"gradient {name}": gradient.clone() for name, gradient in gradients.items()},
        **{f"mode {name}": torch.tensor(module.training) for name, module in model.named_modules()},
        "rng": torch.get_rng_state(),
    }


def test_measuring_changes_nothing() -> None:
    """Parameters, buffers, gradients, modes and random numbers are bitwise what they were."""
    model = noisy_network()
    objective = Objective(model)
    for parameter in objective.parameters:
        parameter.grad = torch.randn_like(parameter)
    batch = Minibatch((torch.randn(8, 1, 32, 32), torch.arange(8)), 5)
    before = state_of(model)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    landscape(objective, batch, LENGTHS)
    after = state_of(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert all(parameter.grad is gradients[name] for name, parameter in model.named_parameters())


def test_random_numbers_are_untouched() -> None:
    """The next draw after a measurement is the one that was due before it."""
    objective = Objective(noisy_network())
    batch = Minibatch((torch.rand(8, 1, 32, 32), torch.arange(8)), 5)
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    landscape(objective, batch, LENGTHS)
    assert torch.equal(torch.randn(4), expected)


@pytest.mark.parametrize("noise", [5, 6])
def test_one_realisation_of_the_noise(noise: int) -> None:
    """Base and moved points share the noise: a step of (nearly) no length finds the same loss, not another draw."""
    objective = Objective(noisy_network().double())
    batch = Minibatch((torch.rand(8, 1, 32, 32, dtype=torch.float64), torch.arange(8)), noise)
    found = landscape(objective, batch, (1e-12,))
    np.testing.assert_allclose(found["path_loss"][0], found["loss"], rtol=1e-8)
    assert found["grad_distance"][0] < 1e-6 * found["grad_norm"]
