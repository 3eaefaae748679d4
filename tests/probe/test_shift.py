"""Internal covariate shift against a recomputation that really swaps the weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lossviz.config.model import Norm, Vgg
from lossviz.config.probe import Probe
from lossviz.config.train import Train
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.stepper import Stepper
from lossviz.models.build import build
from lossviz.models.layers import pick, weight_layers
from lossviz.probe.measures import measure
from tests.closed_forms import TwoLayers

OPTIMISERS = (
    Train(steps=9, lr=0.1, weight_decay=0.01),
    Train(steps=9, lr=0.1, momentum=0.9, nesterov=True),
    Train(steps=9, lr=0.01, optimizer="adam"),
)


def batch_of(noise: int = 3) -> Minibatch:
    draws = torch.Generator().manual_seed(noise)
    return Minibatch(torch.rand(6, 1, 32, 32, generator=draws, dtype=torch.float64), torch.arange(6), noise)


def by_hand(model: nn.Module, config: Train, batch: Minibatch, number: int, earlier: Minibatch) -> tuple[float, float]:
    """Definition 2.1 with torch's optimiser, two copies of the network and one swap, parameter by parameter."""
    now, later = copy.deepcopy(model).train(), copy.deepcopy(model).train()
    stepper = Stepper(config, list(later.parameters()))
    gradients = []
    for each in (earlier, batch):  # a first step gives the optimiser something to remember
        loss = functional.cross_entropy(later(each.inputs), each.targets)
        gradients = list(torch.autograd.grad(loss, list(later.parameters())))
        if each is earlier:
            stepper.take(gradients, 0)
            now.load_state_dict(later.state_dict())
    stepper.take(gradients, 1)
    layers = weight_layers(now)
    for old, new in zip(layers[: number - 1], weight_layers(later)[: number - 1], strict=True):
        for parameter, value in zip(old.parameters, new.parameters, strict=True):
            parameter.data.copy_(value)
    loss = functional.cross_entropy(now(batch.inputs), batch.targets)
    swapped = torch.autograd.grad(loss, layers[number - 1].parameters)
    own = {id(parameter) for parameter in layers[number - 1].parameters}
    place = [i for i, parameter in enumerate(now.parameters()) if id(parameter) in own]
    a, b = (torch.cat([part.flatten() for part in parts]) for parts in ([gradients[i] for i in place], swapped))
    return float((a - b).norm()), float(a @ b / a.norm() / b.norm())


@pytest.mark.parametrize("config", OPTIMISERS, ids=lambda config: config.optimizer)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_against_a_real_swap(config: Train, norm: Norm) -> None:
    model = build(Vgg(name="vgg", depth=9, width=0.0625, norm=norm), 1, 10).double()
    batch, earlier = batch_of(), batch_of(noise=4)
    objective = Objective(copy.deepcopy(model).train())
    stepper = Stepper(config, objective.parameters)
    stepper.take(objective.differentiate(earlier).gradient, 0)
    before = copy.deepcopy(stepper.optimizer.state_dict())
    probe = Probe(measures=("shift",), layers=(1, 2, 5, 9))
    found = measure(objective, batch, probe, preview=lambda gradient: stepper.preview(gradient, 1))
    for i, number in enumerate(probe.layers):
        distance, cosine = by_hand(model, config, batch, number, earlier)
        np.testing.assert_allclose(found["shift_l2"][i], distance, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(found["shift_cosine"][i], cosine, rtol=1e-8)
    after = stepper.optimizer.state_dict()
    for key, state in before["state"].items():
        for name, value in state.items():
            assert value is after["state"][key][name] or torch.equal(value, after["state"][key][name]), name


def test_nothing_lies_before_the_first_layer() -> None:
    layers = TwoLayers()
    stepper = Stepper(Train(steps=1, lr=0.3), layers.objective.parameters)
    probe = Probe(measures=("shift",), layers=(1, 2))
    found = measure(layers.objective, layers.batch, probe, preview=lambda gradient: stepper.preview(gradient, 0))
    assert found["shift_l2"][0] == 0
    np.testing.assert_allclose(found["shift_cosine"][0], 1, rtol=1e-12)


def test_two_linear_layers() -> None:
    """G' of the second layer by formula, at the first layer's weights after a step of gradient descent."""
    layers = TwoLayers()
    stepper = Stepper(Train(steps=1, lr=0.3), layers.objective.parameters)
    probe = Probe(measures=("shift",), layers=(2,))
    found = measure(layers.objective, layers.batch, probe, preview=lambda gradient: stepper.preview(gradient, 0))
    first, second = layers.weights
    before = layers.gradient(first, second)
    after = layers.gradient(first - 0.3 * before[0], second)
    np.testing.assert_allclose(found["shift_l2"][0], np.linalg.norm(before[1] - after[1]), rtol=1e-10)


def test_layers_are_counted_as_the_papers_count() -> None:
    """VGG-16: thirteen convolutions and three matrices; BatchNorm belongs to its layer; everything belongs to one."""
    model = build(Vgg(name="vgg", depth=16, width=0.0625, norm="batch"), 3, 10)
    layers = weight_layers(model)
    assert [type(layer.module).__name__ for layer in layers] == ["Conv2d"] * 13 + ["Linear"] * 3
    assert isinstance(layers[12].output, nn.BatchNorm2d)
    assert isinstance(layers[14].output, nn.BatchNorm1d)
    assert layers[15].output is layers[15].module
    owned = [id(parameter) for layer in layers for parameter in layer.parameters]
    assert owned == [id(parameter) for parameter in model.parameters()]
    with pytest.raises(Exception, match="16 weight layers"):
        pick(model, (2, 17))
