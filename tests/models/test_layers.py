"""The weight layers of every network, counted as the papers count them, and of networks that only data flow tells."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lossviz.config.model import Model, Noise
from lossviz.errors import RequestError
from lossviz.models.build import build
from lossviz.models.layers import WeightLayer, pick, weight_layers
from lossviz.models.lp import LpNorm
from lossviz.models.normalization import NoiseLayer

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


def images(model: nn.Module) -> Tensor:
    return torch.randn(2, 3, 64, 64) if hasattr(model, "maxpool") else torch.randn(2, 3, 32, 32)


def layers_of(model: nn.Module, inputs: Tensor | None = None) -> list[WeightLayer]:
    return weight_layers(model, images(model) if inputs is None else inputs)


def outputs_of(model: nn.Module, inputs: Tensor) -> dict[str, str]:
    return {layer.name: layer.output for layer in layers_of(model, inputs)}


@pytest.mark.parametrize(("depth", "config"), NARROW)
def test_as_they_are_defined(depth: int, config: dict[str, Any]) -> None:
    """Our networks define modules in the order of their calls: numbers, owners and what is earlier follow from names.

    A normalisation is the next name in the same module, but of a DenseNet, where the first layer of each pair and the
    stem have others behind them that read the concatenation.
    """
    model = narrow(config)
    layers = layers_of(model)
    assert [layer.number for layer in layers] == list(range(1, depth + 1))
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [layer.name for layer in layers] == [
        name for name in names if not {"shortcut", "downsample"} & set(name.split("."))
    ]
    parameters = [name for name, _ in model.named_parameters()]
    normalised = 0
    for layer in layers:
        norms = [layer.output] if layer.output != layer.name else []
        assert [norm.rpartition(".")[0] for norm in norms] == [layer.name.rpartition(".")[0]] * len(norms)
        own = [name for name in parameters if name.rpartition(".")[0] in (layer.name, *norms)]
        assert list(layer.parameters) == own
        assert list(layer.earlier) == parameters[: parameters.index(own[0])]
        normalised += len(norms)
    plain = config.get("norm") == "none" or config["name"] == "densenet"
    assert plain or normalised == depth - 1
    assert config["name"] != "densenet" or normalised == (depth - 5) // 2


@pytest.mark.parametrize("name", THEIRS)
def test_torchvision_s_too(name: str) -> None:
    model = torchvision.models.get_model(name, weights=None, num_classes=10)
    assert len(layers_of(model, torch.randn(2, 3, 64, 64))) == THEIRS[name]


def test_the_last_layers_of_dense_blocks_and_transitions_stand_alone() -> None:
    outputs = outputs_of(narrow({"name": "densenet", "growth": 2, "norm": "batch"}), torch.randn(2, 3, 32, 32))
    for name, other in (("dense1.5.conv1", "dense1.5.bn2"), ("dense1.5.conv2", "dense1.5.conv2"), ("conv1", "conv1")):
        assert outputs[name] == other
    assert outputs["trans1.conv"] == "trans1.conv"
    assert outputs["dense4.15.conv2"] == "dense4.15.conv2"


class Defined(nn.Module):
    """Convolutions first and norms after them, as many people write; called the other way round."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.norm1, self.norm2 = norm(4), norm(4)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.norm2(self.conv2(inputs[:, :1].expand(-1, 4, -1, -1)))
        normalised: Tensor = self.norm1(self.conv1(outputs[:, :3]))
        return normalised


def test_the_order_of_calls_and_not_of_definitions() -> None:
    layers = layers_of(Defined())
    assert [(layer.number, layer.name, layer.output) for layer in layers] == [
        (1, "conv2", "norm2"),
        (2, "conv1", "norm1"),
    ]
    assert set(layers[1].earlier) == {"conv2.weight", "conv2.bias", "norm2.weight", "norm2.bias"}
    assert layers[0].earlier == ()


NORMS: list[Callable[[int], nn.Module]] = [
    nn.BatchNorm2d,
    lambda channels: nn.GroupNorm(2, channels),
    nn.InstanceNorm2d,
    nn.LocalResponseNorm,
    lambda channels: nn.LayerNorm([channels, 30, 30]),
    lambda channels: nn.RMSNorm([channels, 30, 30]),
    lambda channels: LpNorm(channels, 1.0),
    lambda _: NoiseLayer(Noise()),
]


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm(4)).__name__)
def test_normalisations_of_every_kind(norm: Callable[[int], nn.Module]) -> None:
    (layer,) = layers_of(nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU()))
    assert (layer.output, layer.channel) == ("1", 1)


class Between(nn.Module):
    """Something between a convolution and BatchNorm, or beside BatchNorm."""

    def __init__(self, between: Callable[[Tensor], Tensor], beside: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.between, self.beside = between, beside

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.conv(inputs)
        normalised: Tensor = self.norm(self.between(outputs))
        return normalised + outputs if self.beside else normalised


@pytest.mark.parametrize(
    ("network", "output"),
    [
        (Between(lambda outputs: outputs), "norm"),
        (Between(lambda outputs: outputs.flatten(2)[:, :, None]), "norm"),
        (Between(torch.relu), "conv"),
        (Between(torch.relu_), "conv"),
        (Between(lambda outputs: outputs[:, :, ::2]), "conv"),
        (Between(lambda outputs: outputs, beside=True), "conv"),
    ],
    ids=["nothing", "a view", "a ReLU", "a ReLU in place", "a part", "a second reader"],
)
def test_a_normalisation_belongs_to_the_layer_whose_output_it_alone_reads(network: nn.Module, output: str) -> None:
    assert outputs_of(network, torch.randn(2, 3, 8, 8)) == {"conv": output}


def test_weight_layers_of_other_kinds() -> None:
    model = nn.Sequential(
        nn.Conv1d(3, 4, 3),
        nn.ConvTranspose1d(4, 5, 3),
        nn.Unflatten(2, (2, 4)),
        nn.ConvTranspose2d(5, 5, 1),
        nn.Unflatten(3, (2, 2)),
        nn.Conv3d(5, 2, 1),
        nn.Flatten(),
        weight_norm(nn.Linear(16, 2)),
    )
    layers = layers_of(model, torch.randn(2, 3, 8))
    assert [layer.name for layer in layers] == ["0", "1", "3", "5", "7"]
    assert [layer.channel for layer in layers] == [1, 1, 1, 1, 1]
    assert layers[4].parameters == (
        "7.bias",
        "7.parametrizations.weight.original0",
        "7.parametrizations.weight.original1",
    )


def test_tokens_have_their_units_in_the_last_dimension() -> None:
    """(N, L, C) of a transformer, and its embedding of patches, which is normalised behind a transposition."""

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm, self.linear = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 6)

        def forward(self, inputs: Tensor) -> Tensor:
            tokens: Tensor = self.linear(self.norm(self.embed(inputs).flatten(2).transpose(1, 2)))
            return tokens

    embed, linear = layers_of(Patches(), torch.randn(2, 3, 8, 8))
    assert (embed.name, embed.output, embed.channel) == ("embed", "norm", 2)
    assert (linear.name, linear.output, linear.channel) == ("linear", "linear", 2)


def test_modules_that_are_not_called_do_not_count() -> None:
    """torch's attention uses the weights of its out_proj, and never calls it; those weights belong to the attention."""
    model = torchvision.models.vision_transformer.VisionTransformer(
        image_size=8, patch_size=4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
    )
    layers = layers_of(model, torch.randn(2, 3, 8, 8))
    block = "encoder.layers.encoder_layer_0"
    assert [layer.name for layer in layers] == ["conv_proj", f"{block}.mlp.0", f"{block}.mlp.3", "heads.head"]
    assert f"{block}.self_attention.out_proj.weight" in layers[1].earlier
    assert f"{block}.ln_2.weight" in layers[1].earlier
    assert "encoder.ln.weight" not in layers[2].earlier


def test_a_layer_that_is_called_again_counts_once() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.BatchNorm1d(4), nn.ReLU(), shared, nn.BatchNorm1d(4), nn.Linear(4, 2))
    layers = layers_of(model, torch.randn(3, 4))
    assert [(layer.name, layer.output) for layer in layers] == [("0", "1"), ("5", "5")]


def test_tied_weights_are_their_own_in_both_layers() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    layers = layers_of(model, torch.randn(3, 4))
    assert [(layer.parameters, layer.earlier) for layer in layers] == [(("0.weight",), ())] * 2


def test_frozen_weights_are_not_among_the_parameters() -> None:
    model = Defined()
    model.conv2.requires_grad_(requires_grad=False)
    layers = layers_of(model)
    assert layers[0].parameters == ("norm2.weight", "norm2.bias")
    assert layers[1].earlier == ("norm2.weight", "norm2.bias")


def test_parts_of_a_network_that_is_not_called_itself() -> None:
    """As a loss of the model may do; what belongs to none of the parts comes before them."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    model.scale = nn.Parameter(torch.ones(()))
    layers = weight_layers(model, torch.randn(3, 4), lambda inputs: model.scale * model[1](model[0](inputs)))
    assert [(layer.name, layer.earlier) for layer in layers] == [("0", ("scale",)), ("1", ("scale", "0.weight"))]


def test_hooks_are_gone() -> None:
    model = Defined()
    layers_of(model)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_pick() -> None:
    layers = layers_of(narrow({"name": "resnet-imagenet", "width": 0.1}))
    assert [layer.number for layer in pick(layers, (18, 2))] == [18, 2]
    with pytest.raises(RequestError, match=r"probe\.layers = \[1, 19\]: the network has 18 weight layers"):
        pick(layers, (1, 19))
