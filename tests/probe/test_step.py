"""Every odd network against a plain loop in float64 that builds a new network for every pass."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.models.layers import weight_layers
from lossviz.probe.measure import Step
from lossviz.probe.step import measure_step, repeats_itself
from lossviz.seeding import seeded
from tests.engine.odd_networks import UNFOLDABLE, InOrder

CPU = torch.device("cpu")
LENGTHS = (1e-4, 0.1)
RATE = 0.3


class Counter(InOrder):
    """An attribute counts the passes, and the output depends on it."""

    passes = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(inputs) * self.passes


class Follower(nn.Module):
    """A hand-written normalisation by running statistics, which it re-assigns and reads in training mode."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.conv(inputs)
        self.scale = 0.5 * self.scale + outputs.detach().std()
        return outputs / self.scale


class InPlace(InOrder):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.sub_(0.3).mul_(2))


class Recurrent(nn.Module):
    """Rows of an image as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.out = nn.LSTM(32, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.rows(inputs.transpose(1, 2).flatten(2))[0])
        return outputs


class Saved(torch.autograd.function.FunctionCtx):
    inputs: Tensor


class Cube(torch.autograd.Function):
    """x^3 with a gradient of its own."""

    @staticmethod
    def forward(ctx: Saved, inputs: Tensor) -> Tensor:
        ctx.inputs = inputs
        return inputs**3

    @staticmethod
    def backward(ctx: Saved, *gradients: Tensor) -> Tensor:
        return 3 * ctx.inputs**2 * gradients[0]


class Cubed(InOrder):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = Cube.apply(super().forward(inputs))
        return outputs


def frozen() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    network[0].requires_grad_(requires_grad=False)
    return network


def spectral() -> nn.Module:
    return nn.Sequential(spectral_norm(nn.Conv2d(4, 6, 1)), nn.Tanh(), spectral_norm(nn.Conv2d(6, 2, 1)))


def dropout() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 1), nn.Dropout(0.5), nn.LayerNorm([8, 8]), nn.ConvTranspose2d(6, 2, 3))


# What a pass of theirs writes, the next one reads.
STATEFUL: dict[str, Callable[[], nn.Module]] = {
    "counter": Counter,
    "follower": Follower,
    "spectral": spectral,
    "spectral norm": UNFOLDABLE["spectral norm"],
    "statistic read": UNFOLDABLE["statistic read"],
}
ODD: dict[str, Callable[[], nn.Module]] = {
    **UNFOLDABLE,
    **STATEFUL,
    "in place": InPlace,
    "recurrent": Recurrent,
    "own function": Cubed,
    "frozen": frozen,
    "dropout": dropout,
}


def squares(outputs: Tensor, _: Tensor) -> Tensor:
    return (outputs.flatten(1) - 1).square().mean(dim=1)


def made(name: str) -> nn.Module:
    with seeded(CPU, 1):
        return ODD[name]().double().train()


def inputs_of() -> Tensor:
    with seeded(CPU, 2):
        return torch.randn(5, 4, 8, 8, dtype=torch.float64)


def plain(name: str, values: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradient at some values of the trainable parameters."""
    network = made(name)
    parameters = {key: each for key, each in network.named_parameters() if each.requires_grad}
    for key, value in values.items():
        parameters[key].data.copy_(value)
    with seeded(CPU, 3):
        loss = squares(network(inputs_of()), torch.empty(0)).mean()
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
    return float(loss.detach()), dict(zip(parameters, found, strict=True))


def distance(first: dict[str, Tensor], second: dict[str, Tensor], names: tuple[str, ...]) -> float:
    return float(sum((first[name] - second[name]).square().sum() for name in names) ** 0.5)


def state_of(network: nn.Module) -> dict[str, object]:
    tensors = {key: value.numpy().tobytes() for key, value in network.state_dict().items()}
    return {**tensors, "modes": [each.training for each in network.modules()], "passes": getattr(network, "passes", 0)}


@pytest.mark.parametrize("name", ODD)
def test_against_a_plain_loop(name: str) -> None:
    network = made(name)
    theta = {key: each.detach().clone() for key, each in network.named_parameters() if each.requires_grad}
    loss, gradient = plain(name, theta)
    batch = Minibatch((inputs_of(), torch.zeros(5)), 3)
    layers = [layer for layer in weight_layers(made(name), inputs_of()) if layer.parameters]
    numbers = tuple(layer.number for layer in layers)
    config = Probe(measures=("landscape", "shift"), lengths=LENGTHS, layers=numbers)
    objective = Objective(network, squares)
    preview = partial(_stepped, list(theta.values()))
    before, draws = state_of(network), torch.get_rng_state()
    found = measure_step(Step(objective, batch, config, layers, preview=preview))
    assert state_of(network) == before
    assert torch.equal(torch.get_rng_state(), draws)
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-12)
    for i, eta in enumerate(LENGTHS):
        there, moved = plain(name, {key: value - eta * gradient[key] for key, value in theta.items()})
        np.testing.assert_allclose(found["path_loss"][i], there, rtol=1e-10)
        np.testing.assert_allclose(found["grad_distance"][i], distance(gradient, moved, tuple(theta)), rtol=1e-6)
    for i, layer in enumerate(layers):
        _, after = plain(name, theta | {key: theta[key] - RATE * gradient[key] for key in layer.earlier})
        np.testing.assert_allclose(found["shift_l2"][i], distance(gradient, after, layer.parameters), atol=1e-10)


def _stepped(theta: list[Tensor], gradient: list[Tensor]) -> list[Tensor]:
    return [value - RATE * part for value, part in zip(theta, gradient, strict=True)]


@pytest.mark.parametrize("name", ODD)
def test_who_reads_a_state_of_its_own(name: str) -> None:
    batch = Minibatch((inputs_of(), torch.zeros(5)), 3)
    assert repeats_itself(Objective(made(name), squares), batch) == (name not in STATEFUL)
