from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from lossviz.config.model import Model
from lossviz.errors import RequestError
from lossviz.models.build import build, count_parameters

NETWORKS: list[dict[str, Any]] = [
    {"name": "vgg", "depth": 11, "width": 0.5},
    {"name": "resnet", "depth": 20, "width": 2.0, "shortcut": "B"},
    {"name": "resnet-imagenet", "depth": 18, "width": 0.25, "shortcut": "B"},
    {"name": "densenet", "depth": 121, "growth": 4},
]


def make(seed: int = 0, channels: int = 3, classes: int = 10, **config: Any) -> nn.Module:
    return build(TypeAdapter(Model).validate_python(config), channels, classes, seed)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield name, module


def fans(weight: Tensor) -> tuple[int, int]:
    receptive = int(np.prod(weight.shape[2:]))
    return weight.shape[1] * receptive, weight.shape[0] * receptive


@pytest.mark.parametrize("config", NETWORKS)
def test_glorot_is_uniform_between_its_bounds(config: dict[str, Any]) -> None:
    units = []
    for _, layer in weight_layers(make(init="glorot", **config)):
        fan_in, fan_out = fans(layer.weight)
        units.append(layer.weight.detach().double().flatten() * ((fan_in + fan_out) / 6) ** 0.5)
        assert units[-1].abs().max() <= 1 + 1e-6
    everything = torch.cat(units).numpy()
    # Moments of U(-1, 1): 0, 1/3, 0, 1/5; deviations against their Monte-Carlo errors.
    for power, moment, variance in ((1, 0, 1 / 3), (2, 1 / 3, 4 / 45), (3, 0, 1 / 7), (4, 1 / 5, 16 / 225)):
        assert abs((everything**power).mean() - moment) < 5 * (variance / everything.size) ** 0.5
    assert all(unit.abs().max() > 0.98 for unit in units if unit.numel() > 1000)


@pytest.mark.parametrize("config", NETWORKS)
def test_he_is_normal_with_the_fan_in_of_every_layer(config: dict[str, Any]) -> None:
    units = []
    for _, layer in weight_layers(make(init="he", **config)):
        unit = layer.weight.detach().double().flatten() * (fans(layer.weight)[0] / 2) ** 0.5
        # The variance of each layer by itself: sample variances scatter by sqrt(2 / n).
        assert abs(float(unit.square().mean()) - 1) < 5 * (2 / unit.numel()) ** 0.5
        units.append(unit)
    everything = torch.cat(units).numpy()
    for power, moment, variance in ((1, 0, 1), (3, 0, 15), (4, 3, 96)):
        assert abs((everything**power).mean() - moment) < 5 * (variance / everything.size) ** 0.5


def test_he_on_a_layer_whose_fans_differ() -> None:
    weight = dict(weight_layers(make(name="vgg", depth=9, init="he")))["classifier.0"].weight
    assert weight.shape == (256, 4096)
    assert abs(float(weight.detach().double().std()) / (2 / 4096) ** 0.5 - 1) < 0.01


@pytest.mark.parametrize("init", ["glorot", "he"])
@pytest.mark.parametrize("norm", ["none", "batch", "noisy-batch", "noise", "l2"])
def test_biases_are_zero_and_normalisations_the_identity(init: str, norm: str) -> None:
    model = make(name="resnet", depth=8, norm=norm, init=init)
    for name, tensor in model.state_dict().items():
        if name.endswith(("bias", "running_mean", "num_batches_tracked")):
            assert not tensor.any()
        elif name.endswith("running_var") or tensor.dim() == 1:
            assert bool((tensor == 1).all())


@pytest.mark.parametrize("config", [*NETWORKS, {"name": "resnet", "depth": 14, "shortcut": "A"}])
def test_weights_are_the_same_across_normalisations_and_global_states(config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    reference = dict(weight_layers(make(seed=4, norm="none", **config)))
    for history, norm in enumerate(("none", "batch", "noisy-batch", "noise", "l1")):
        torch.manual_seed(history)
        before = torch.get_rng_state()
        model = make(seed=4, norm=norm, **config)
        assert torch.equal(torch.get_rng_state(), before)
        layers = dict(weight_layers(model))
        assert layers.keys() == reference.keys()
        assert all(torch.equal(layer.weight, reference[name].weight) for name, layer in layers.items())


def test_seeds_and_layers_differ() -> None:
    first, second = (
        [layer.weight.detach().flatten() for _, layer in weight_layers(make(seed, name="vgg", depth=16, width=0.1))]
        for seed in (0, 1)
    )
    heads = {tuple(weight[:4].tolist()) for weight in [*first, *second]}
    assert len(heads) == 2 * len(first) == 32


def test_networks_are_float32_on_the_cpu_and_fully_trainable() -> None:
    model = make(name="resnet", depth=8)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {(each.dtype, each.device.type) for each in model.parameters()} == {(torch.float32, "cpu")}


def test_count_parameters_skips_frozen_ones() -> None:
    layer = nn.Linear(3, 4)
    assert count_parameters(layer) == 16
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 12


@pytest.mark.parametrize("name", ["vgg", "resnet", "resnet-imagenet"])
@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (3, 7)])
def test_images_in_logits_out(name: str, channels: int, classes: int) -> None:
    model = make(name=name, width=0.05, channels=channels, classes=classes)
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, classes)


def test_only_vgg_minds_the_size_of_the_images() -> None:
    adapter: TypeAdapter[Model] = TypeAdapter(Model)
    with pytest.raises(RequestError) as caught:
        build(adapter.validate_python({"name": "vgg"}), 3, 10, image_size=(64, 48))
    assert str(caught.value).startswith("model.name = vgg: takes images of 32x32, and those of the data are 64x48\n")
    for config in NETWORKS[1:]:
        assert build(adapter.validate_python(config), 3, 10, image_size=(64, 48))(torch.zeros(2, 3, 64, 48)).shape == (
            2,
            10,
        )
