"""The weight layers of every network, counted as the papers count them."""

from typing import Any

import pytest
import torch
import torchvision
from pydantic import TypeAdapter
from torch import Tensor, nn

from lossviz.config.model import Model
from lossviz.errors import RequestError
from lossviz.models.build import build
from lossviz.models.layers import pick, weight_layers

NARROW: list[tuple[int, dict[str, Any]]] = [
    (9, {"name": "vgg", "depth": 9, "width": 0.1, "norm": "batch"}),
    (20, {"name": "resnet", "depth": 20, "width": 0.1}),
    (18, {"name": "resnet-imagenet", "depth": 18, "width": 0.1, "shortcut": "none"}),
    (34, {"name": "resnet-imagenet", "depth": 34, "width": 0.1, "shortcut": "A"}),
    (34, {"name": "resnet-imagenet", "depth": 34, "width": 0.1, "shortcut": "C", "norm": "none"}),
    (50, {"name": "resnet-imagenet", "depth": 50, "width": 0.1, "shortcut": "B"}),
    (101, {"name": "resnet-imagenet", "depth": 101, "width": 0.1, "shortcut": "B"}),
    (152, {"name": "resnet-imagenet", "depth": 152, "width": 0.1, "shortcut": "C"}),
    (121, {"name": "densenet", "depth": 121, "growth": 2}),
    (121, {"name": "densenet", "depth": 121, "growth": 2, "norm": "l2"}),
    (161, {"name": "densenet", "depth": 161, "growth": 2}),
    (169, {"name": "densenet", "depth": 169, "growth": 2}),
    (201, {"name": "densenet", "depth": 201, "growth": 2}),
]
THEIRS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "vgg11_bn": 11, "densenet121": 121}


def narrow(config: dict[str, Any]) -> nn.Module:
    return build(TypeAdapter(Model).validate_python(config), 3, 10)


def follows(model: nn.Module) -> list[tuple[bool, bool]]:
    """For every layer: whether a normalisation belongs to it, and whether that one reads the layer's own output."""
    layers, made, read = weight_layers(model), dict[nn.Module, Tensor](), dict[nn.Module, Tensor]()
    for layer in layers:
        layer.module.register_forward_hook(lambda module, _, output: made.update({module: output}))
        layer.output.register_forward_pre_hook(lambda module, inputs: read.update({module: inputs[0]}))
    model(torch.randn(2, 3, 64, 64) if hasattr(model, "maxpool") else torch.randn(2, 3, 32, 32))
    return [(each.output is not each.module, read[each.output] is made[each.module]) for each in layers]


@pytest.mark.parametrize(("depth", "config"), NARROW)
def test_depth_is_the_number_of_weight_layers(depth: int, config: dict[str, Any]) -> None:
    layers = weight_layers(narrow(config))
    assert [layer.number for layer in layers] == list(range(1, depth + 1))
    assert isinstance(layers[-1].module, nn.Linear)


@pytest.mark.parametrize("name", THEIRS)
def test_torchvision_s_too(name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    assert len(weight_layers(model)) == THEIRS[name]


@pytest.mark.parametrize(("depth", "config"), NARROW)
def test_a_normalisation_belongs_to_the_layer_whose_output_it_reads(depth: int, config: dict[str, Any]) -> None:
    found = follows(narrow(config))
    assert all(right for normalised, right in found if normalised)
    # Of a DenseNet's layers the first of each pair; elsewhere all but the classifier.
    dense = config["name"] == "densenet"
    assert sum(normalised for normalised, _ in found) == ((depth - 5) // 2 if dense else depth - 1)


def test_the_last_layers_of_dense_blocks_and_transitions_stand_alone() -> None:
    model = narrow({"name": "densenet", "growth": 2})
    outputs: dict[nn.Module, nn.Module] = {layer.module: layer.output for layer in weight_layers(model)}
    for name, other in (("dense1.5.conv1", "dense1.5.bn2"), ("dense1.5.conv2", "dense1.5.conv2"), ("conv1", "conv1")):
        assert outputs[model.get_submodule(name)] is model.get_submodule(other)
    assert outputs[model.get_submodule("trans1.conv")] is model.get_submodule("trans1.conv")
    assert outputs[model.get_submodule("dense4.15.conv2")] is model.get_submodule("dense4.15.conv2")


def test_parameters_are_those_of_the_layer_and_its_normalisation() -> None:
    model = narrow({"name": "resnet-imagenet", "width": 0.1})
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    layers = weight_layers(model)
    found = [[names[id(tensor)] for tensor in layer.parameters] for layer in layers]
    assert found[0] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert found[6] == ["layer2.0.conv2.weight", "layer2.0.bn2.weight", "layer2.0.bn2.bias"]
    assert found[-1] == ["fc.weight", "fc.bias"]


def test_pick() -> None:
    model = narrow({"name": "resnet-imagenet", "width": 0.1})
    assert [layer.number for layer in pick(model, (18, 2))] == [18, 2]
    with pytest.raises(RequestError, match=r"probe\.layers = \[1, 19\]: the network has 18 weight layers"):
        pick(model, (1, 19))
