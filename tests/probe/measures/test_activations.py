"""Activations against forward hooks and NumPy."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.config.model import Norm, Vgg
from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.models.build import build
from lossviz.models.layers import pick, weight_layers
from lossviz.probe.layers import channel
from lossviz.probe.measure import Step
from lossviz.probe.measures.activations import BINS, describe
from lossviz.probe.step import measure_step
from lossviz.seeding import seeded

PROBE = Probe(measures=("activations",), layers=(1, 4, 8, 9), channel="all")
DRAWN = Probe(measures=("activations",), layers=(1, 4, 8, 9))


@pytest.mark.parametrize("norm", ["none", "batch", "noisy-batch", "l1"])
@pytest.mark.parametrize("config", [PROBE, DRAWN], ids=lambda config: config.channel)
def test_what_the_next_layer_sees_before_the_non_linearity(norm: Norm, config: Probe) -> None:
    """Inputs of the ReLUs (and the output of the last layer), copied before the ReLU works in place."""
    model = build(Vgg(name="vgg", depth=9, width=0.0625, norm=norm), 1, 10).double().train()
    batch = Minibatch((torch.rand(6, 1, 32, 32, dtype=torch.float64), torch.arange(6)), 3)
    layers = pick(weight_layers(copy.deepcopy(model), batch.inputs), config.layers)
    found = measure_step(Step(Objective(model), batch, config, layers, seed=7))
    seen: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    with seeded(torch.device("cpu"), 3), torch.no_grad():
        seen.append(model(batch.inputs))
    for i, number in enumerate(config.layers):
        values = seen[number - 1].numpy()
        if config is DRAWN:
            values = values[:, channel(7, number, values.shape[1])]
        np.testing.assert_allclose(found["activation_mean"][i], values.mean(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found["activation_variance"][i], values.var(), rtol=1e-10)
        edges = found["activation_edge"][i].numpy()
        np.testing.assert_allclose((edges[0], edges[-1]), (values.min(), values.max()), rtol=1e-12)
        counts, _ = np.histogram(values, bins=BINS, range=(values.min(), values.max()))
        assert abs(found["activation_histogram"][i].numpy() - counts).sum() <= 2  # a value on an edge


def test_histogram_of_odd_values() -> None:
    """All equal, and not finite: nothing is lost, nothing fails."""
    flat = describe(torch.full((5,), 2.0))
    assert flat["activation_histogram"].sum() == 5
    odd = describe(torch.tensor([0.0, 1.0, float("nan"), float("inf")]))
    assert odd["activation_histogram"].sum() == 2
    assert odd["activation_mean"].isnan()
    assert describe(torch.full((3,), float("nan")))["activation_histogram"].sum() == 0


def test_listening_leaves_no_hooks() -> None:
    model = build(Vgg(name="vgg", depth=9, width=0.0625), 1, 10)
    batch = Minibatch((torch.rand(2, 1, 32, 32), torch.arange(2)), 0)
    measure_step(Step(Objective(model), batch, PROBE, pick(weight_layers(model, batch.inputs), PROBE.layers)))
    assert not any(module._forward_hooks for module in model.modules())


def test_drawn_channels() -> None:
    """The same at every step, different between layers and seeds, and every channel can be drawn."""
    assert channel(0, 2, 64) == channel(0, 2, 64)
    assert len({channel(0, number, 512) for number in range(1, 17)}) > 8
    assert {channel(seed, 2, 4) for seed in range(60)} == {0, 1, 2, 3}


def test_a_layer_that_is_called_again_is_described_at_its_first_call() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    batch = Minibatch((torch.randn(6, 4), torch.arange(6) % 4), 0)
    config = Probe(measures=("activations",), layers=(1,), channel="all")
    found = measure_step(Step(Objective(model), batch, config, weight_layers(model, batch.inputs)))
    with torch.no_grad():
        np.testing.assert_allclose(found["activation_mean"][0], shared(batch.inputs).mean(), rtol=1e-5)
