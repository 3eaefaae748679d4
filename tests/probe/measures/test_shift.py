"""Internal covariate shift against a recomputation that really swaps the weights."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import Norm, Vgg
from lossviz.config.probe import Probe
from lossviz.config.train import Train
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.errors import RequestError
from lossviz.models.build import build
from lossviz.models.layers import pick, weight_layers
from lossviz.probe.measure import Step
from lossviz.probe.step import measure_step
from lossviz.seeding import seeded
from lossviz.training.stepper import Stepper
from tests.closed_forms import TwoLayers

OPTIMISERS = (
    Train(steps=9, lr=0.1, weight_decay=0.01),
    Train(steps=9, lr=0.1, momentum=0.9, nesterov=True),
    Train(steps=9, lr=0.01, optimizer="adam"),
)


def batch_of(noise: int = 3) -> Minibatch:
    draws = torch.Generator().manual_seed(noise)
    return Minibatch((torch.rand(6, 1, 32, 32, generator=draws, dtype=torch.float64), torch.arange(6)), noise)


def by_hand(model: nn.Module, config: Train, batch: Minibatch, number: int, earlier: Minibatch) -> tuple[float, float]:
    """Definition 2.1 with torch's optimiser, two copies of the network and one swap, parameter by parameter."""
    now, later = copy.deepcopy(model).train(), copy.deepcopy(model).train()
    stepper = Stepper(config, list(later.parameters()))
    gradients = []
    for each in (earlier, batch):  # a first step gives the optimiser something to remember
        with seeded(torch.device("cpu"), each.noise or 0):
            loss = functional.cross_entropy(later(each.inputs), each.targets)
        gradients = list(torch.autograd.grad(loss, list(later.parameters())))
        if each is earlier:
            stepper.take(gradients, 0)
            now.load_state_dict(later.state_dict())
    stepper.take(gradients, 1)
    layers = weight_layers(copy.deepcopy(model), batch.inputs)
    for layer in layers[: number - 1]:
        for name in layer.parameters:
            now.get_parameter(name).data.copy_(later.get_parameter(name))
    own = layers[number - 1].parameters
    with seeded(torch.device("cpu"), batch.noise or 0):
        loss = functional.cross_entropy(now(batch.inputs), batch.targets)
    swapped = torch.autograd.grad(loss, [now.get_parameter(name) for name in own])
    before = [part for (name, _), part in zip(now.named_parameters(), gradients, strict=True) if name in own]
    a, b = (torch.cat([part.flatten() for part in parts]) for parts in (before, swapped))
    return float((a - b).norm()), float(a @ b / a.norm() / b.norm())


@pytest.mark.parametrize("config", OPTIMISERS, ids=lambda config: config.optimizer)
@pytest.mark.parametrize("norm", ["none", "batch", "noisy-batch"])
def test_against_a_real_swap(config: Train, norm: Norm) -> None:
    model = build(Vgg(name="vgg", depth=9, width=0.0625, norm=norm), 1, 10).double()
    batch, earlier = batch_of(), batch_of(noise=4)
    objective = Objective(copy.deepcopy(model).train())
    stepper = Stepper(config, objective.parameters)
    stepper.take(objective.differentiate(earlier).gradient, 0)
    before = copy.deepcopy(stepper.optimizer.state_dict())
    probe = Probe(measures=("shift",), layers=(1, 2, 5, 9))
    layers = pick(weight_layers(copy.deepcopy(model), batch.inputs), probe.layers)
    found = measure_step(Step(objective, batch, probe, layers, preview=partial(stepper.preview, step=1)))
    for i, number in enumerate(probe.layers):
        distance, cosine = by_hand(model, config, batch, number, earlier)
        np.testing.assert_allclose(found["shift_l2"][i], distance, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(found["shift_cosine"][i], cosine, rtol=1e-8)
    after = stepper.optimizer.state_dict()
    for key, state in before["state"].items():
        for name, value in state.items():
            assert value is after["state"][key][name] or torch.equal(value, after["state"][key][name]), name


def shift_of(layers: TwoLayers, *numbers: int) -> dict[str, Tensor]:
    """With a step of gradient descent of length 0.3."""
    preview = partial(Stepper(Train(steps=1, lr=0.3), layers.objective.parameters).preview, step=0)
    picked = pick(weight_layers(layers.model, layers.batch.inputs), numbers)
    probe = Probe(measures=("shift",), layers=numbers)
    return measure_step(Step(layers.objective, layers.batch, probe, picked, preview=preview))


def test_nothing_lies_before_the_first_layer() -> None:
    found = shift_of(TwoLayers(), 1, 2)
    assert found["shift_l2"][0] == 0
    np.testing.assert_allclose(found["shift_cosine"][0], 1, rtol=1e-12)


def test_two_linear_layers() -> None:
    """G' of the second layer by formula, at the first layer's weights after a step of gradient descent."""
    layers = TwoLayers()
    found = shift_of(layers, 2)
    first, second = layers.weights
    before = layers.gradient(first, second)
    after = layers.gradient(first - 0.3 * before[0], second)
    np.testing.assert_allclose(found["shift_l2"][0], np.linalg.norm(before[1] - after[1]), rtol=1e-10)


def test_no_shift_without_the_step_of_the_optimiser() -> None:
    layers = TwoLayers()
    with pytest.raises(ValueError, match="needs a preview of the optimiser"):
        measure_step(Step(layers.objective, layers.batch, Probe(measures=("shift",), layers=(2,))))


def test_layers_are_counted_as_the_papers_count() -> None:
    """VGG-16: thirteen convolutions and three matrices; BatchNorm belongs to its layer; everything belongs to one."""
    model = build(Vgg(name="vgg", depth=16, width=0.0625, norm="batch"), 3, 10)
    layers = weight_layers(model, torch.rand(2, 3, 32, 32))
    kinds = [type(model.get_submodule(layer.name)).__name__ for layer in layers]
    assert kinds == ["Conv2d"] * 13 + ["Linear"] * 3
    assert isinstance(model.get_submodule(layers[12].output), nn.BatchNorm2d)
    assert isinstance(model.get_submodule(layers[14].output), nn.BatchNorm1d)
    assert layers[15].output == layers[15].name
    owned = [name for layer in layers for name in layer.parameters]
    assert owned == [name for name, _ in model.named_parameters()]
    for i, layer in enumerate(layers):
        assert list(layer.earlier) == [name for earlier in layers[:i] for name in earlier.parameters]
    with pytest.raises(RequestError, match="16 weight layers"):
        pick(layers, (2, 17))
