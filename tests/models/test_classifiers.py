"""Classifiers of torchvision and timm: which are taken, that the seed decides their weights, and what is refused."""

import warnings
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from lossviz.config.model import Timm, Torchvision
from lossviz.errors import RequestError, show
from lossviz.models.build import build

SMALL = "shufflenet_v2_x0_5"


def make(network: str, channels: int = 3, seed: int = 0, side: int = 32, **args: Any) -> nn.Module:
    return build(Torchvision(name="torchvision", network=network, args=args), channels, 10, seed, (side, side))


def refusal(network: str, **keys: Any) -> str:
    with pytest.raises(RequestError) as caught:
        make(network, **keys)
    return str(caught.value)


def test_it_is_torchvision_s_network_with_torchvision_s_initialisation() -> None:
    ours = make("resnet18")
    assert type(ours) is torchvision.models.ResNet
    # torchvision draws convolutions with the fan-out, which ours do not.
    weight = ours.get_parameter("layer2.0.conv1.weight").detach()
    assert abs(float(weight.square().mean()) * 128 * 9 / 2 - 1) < 5 * (2 / weight.numel()) ** 0.5
    assert ours(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_seed_decides_the_weights_and_nothing_else_does() -> None:
    states = []
    for history, seed in enumerate((7, 7, 8)):
        torch.manual_seed(history)
        before = torch.get_rng_state()
        states.append(make(SMALL, seed=seed).state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.0.weight"], states[2]["conv1.0.weight"])


def test_looking_at_the_shapes_leaves_the_network_as_it_was() -> None:
    model = make("mobilenet_v3_small")
    assert model.training
    for name, tensor in model.state_dict().items():
        assert tensor.device.type == "cpu"
        if name.endswith(("running_mean", "num_batches_tracked")):
            assert not tensor.any()


def test_arguments_reach_the_network() -> None:
    dropout = [each for each in make("mobilenet_v3_small", dropout=0.75).modules() if isinstance(each, nn.Dropout)]
    assert [each.p for each in dropout] == [0.75]


@pytest.mark.parametrize("side", [32, 64])
def test_googlenet_returns_logits_only_and_warns_of_nothing(side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outputs = make("googlenet", side=side)(torch.randn(2, 3, side, side))
    assert outputs.shape == (2, 10)


def test_several_outputs_are_refused() -> None:
    message = refusal("googlenet", aux_logits=True)
    assert message.startswith("model.name = torchvision/googlenet with model.args = {aux_logits: true}: does not")
    assert "aux_logits: false" in message


@pytest.mark.parametrize(
    ("network", "side"), [("inception_v3", 32), ("inception_v3", 64), ("maxvit_t", 32), ("alexnet", 32)]
)
def test_images_that_are_too_small(network: str, side: int) -> None:
    message = refusal(network, side=side)
    assert message.startswith(f"model.name = torchvision/{network}: cannot take images of {side}x{side}: ")
    assert message.splitlines()[1].startswith("  try a network that takes any size, such as torchvision/resnet18")


def test_the_same_network_takes_larger_ones() -> None:
    assert make("alexnet", side=64)(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


@pytest.mark.parametrize(
    ("network", "near"),
    [("resnet81", "; did you mean resnet18"), ("efficientnet_b8", "; did you mean efficientnet_b"), ("zzz", " ")],
)
def test_unknown_names(network: str, near: str) -> None:
    message = refusal(network)
    assert message.startswith(f"model.name = torchvision/{network}: torchvision {torchvision.__version__} has no such")
    assert near in message
    assert ("did you mean" in message) == (near != " ")
    assert message.endswith("\n  accepted: torchvision's classifiers, such as torchvision/resnet18")


@pytest.mark.parametrize(
    "network", ["fcn_resnet50", "fasterrcnn_resnet50_fpn", "s3d", "swin3d_t", "raft_small", "quantized_resnet18"]
)
def test_what_is_not_a_classifier_of_images(network: str) -> None:
    assert refusal(network).startswith(f"model.name = torchvision/{network}: is not a classifier of images\n")


def test_grey_images() -> None:
    assert refusal("resnet18", channels=1) == (
        "model.name = torchvision/resnet18: takes images of 3 channels, and the data have 1\n"
        "  accepted: colour images, as cifar10"
    )


@pytest.mark.parametrize(
    ("args", "reason"), [({"depth": 3}, "depth"), ({"width_per_group": "x"}, "str"), ({"groups": 0}, "groups must be")]
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_arguments_that_torchvision_refuses(args: dict[str, Any], reason: str) -> None:
    first, second = refusal("resnet50", **args).splitlines()
    assert first == f"model.name = torchvision/resnet50 with model.args = {show(args)}: torchvision refuses them"
    assert reason in second


timm = pytest.importorskip("timm", reason="needs lossviz[timm]")
VIT = "vit_tiny_patch16_224"


def make_timm(network: str, channels: int = 3, seed: int = 0, side: int = 32, **args: Any) -> nn.Module:
    return build(Timm(name="timm", network=network, args=args), channels, 10, seed, (side, side))


def test_timm_s_networks_by_their_names() -> None:
    ours = make_timm(VIT, img_size=32, depth=2)
    assert type(ours) is timm.models.vision_transformer.VisionTransformer
    assert ours(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert make_timm("resnet18", channels=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_the_seed_decides_timm_s_weights() -> None:
    states = []
    for history, seed in enumerate((7, 7, 8)):
        torch.manual_seed(history)
        states.append(make_timm("resnet10t", seed=seed).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["fc.weight"], states[2]["fc.weight"])


@pytest.mark.parametrize(
    ("network", "args", "said"),
    [
        (VIT, {}, f"model.name = timm/{VIT}: cannot take images of 32x32: "),
        ("vit_tiny_patch16", {}, f"timm {timm.__version__} has no such network; did you mean vit_tiny_patch16_"),
        (f"{VIT}.augreg_in21k", {}, "has no such network"),
        ("hf-hub:timm/resnet18.a1_in1k", {}, "has no such network"),
        ("local-dir:/tmp", {}, "has no such network"),
        ("resnet18", {"features_only": True}, "does not return one vector of 10 logits"),
        ("resnet18", {"depth": 3}, "model.name = timm/resnet18 with model.args = {depth: 3}: timm refuses them"),
    ],
)
def test_what_timm_does_not_have(network: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as caught:
        make_timm(network, **args)
    assert said in str(caught.value)
