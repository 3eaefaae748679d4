"""DenseNets against published counts, Li et al.'s names, and a forward pass by hand."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lossviz.config.model import Densenet as DensenetConfig
from lossviz.models.build import build, count_parameters
from lossviz.models.densenet import Densenet

# Huang et al. 2017, Table 1.
BLOCKS = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
# Parameters that torchvision documents for ImageNet, by depth; 161 with growth 48.
IMAGENET = {121: 7_978_856, 161: 28_681_000, 169: 14_149_480, 201: 20_013_928}


def hollow(channels: int = 3, classes: int = 10, **keys: Any) -> Densenet:
    """A network without numbers, for shapes."""
    with torch.device("meta"):
        return Densenet(DensenetConfig(name="densenet", **keys), channels, classes)


def make(**keys: Any) -> Densenet:
    model = build(DensenetConfig(name="densenet", **keys), 3, 10)
    assert isinstance(model, Densenet)
    return model


def test_published_count_of_densenet_121_for_cifar() -> None:
    assert count_parameters(hollow()) == 6_956_298


@pytest.mark.parametrize(("depth", "growth"), [(121, 32), (161, 48), (169, 32), (201, 32)])
def test_counts_differ_from_imagenet_s_by_stem_and_classifier(depth: int, growth: int) -> None:
    model, stem = hollow(depth=depth, growth=growth), 2 * growth
    wide = model.linear.in_features
    theirs = 7 * 7 * 3 * stem + 2 * stem + wide * 1000 + 1000  # 7x7 convolution with BatchNorm, 1,000 classes
    ours = 3 * 3 * 3 * stem + wide * 10 + 10
    assert count_parameters(model) == IMAGENET[depth] - theirs + ours


@pytest.mark.parametrize(("depth", "growth"), [(121, 32), (121, 12), (161, 48), (201, 5)])
def test_counts_by_hand(depth: int, growth: int) -> None:
    channels = 2 * growth
    count = 27 * channels
    for number, layers in enumerate(BLOCKS[depth]):
        for _ in range(layers):
            count += 2 * channels + channels * 4 * growth + 2 * 4 * growth + 9 * 4 * growth * growth
            channels += growth
        if number < 3:
            count += 2 * channels + channels * (channels // 2)
            channels //= 2
    count += 2 * channels + 10 * channels + 10
    assert count_parameters(hollow(depth=depth, growth=growth)) == count


def test_sizes_layer_by_layer() -> None:
    model = hollow()
    sizes: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_children():
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: sizes.update({name: tuple(output.shape[1:])})
        )
    model(torch.empty(1, 3, 32, 32, device="meta"))
    assert sizes == {
        "conv1": (64, 32, 32),
        "dense1": (64 + 6 * 32, 32, 32),
        "trans1": (128, 16, 16),
        "dense2": (128 + 12 * 32, 16, 16),
        "trans2": (256, 8, 8),
        "dense3": (256 + 24 * 32, 8, 8),
        "trans3": (512, 4, 4),
        "dense4": (512 + 16 * 32, 4, 4),
        "bn": (1024, 4, 4),
        "linear": (10,),
    }


def test_names_are_those_of_li_s_code() -> None:
    state = hollow().state_dict()
    norm = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    layer = rf"dense[1-4]\.\d+\.(conv[12]\.weight|bn[12]{norm})"
    names = re.compile(rf"conv1\.weight|{layer}|trans[123]\.(conv\.weight|bn{norm})|bn{norm}|linear\.(weight|bias)")
    assert [name for name in state if not names.fullmatch(name)] == []
    shapes = {
        "dense1.0.conv1.weight": (128, 64, 1, 1),
        "dense1.0.conv2.weight": (32, 128, 3, 3),
        "dense1.5.bn1.weight": (224,),
        "trans1.conv.weight": (128, 256, 1, 1),
        "dense4.15.conv1.weight": (128, 992, 1, 1),
        "linear.weight": (10, 1024),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def forward_by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    def rectified(values: Tensor, name: str) -> Tensor:
        weight, bias, mean, variance = (
            state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return functional.relu((values - mean) / (variance + 1e-5).sqrt() * weight + bias)

    x = functional.conv2d(x, state["conv1.weight"], padding=1)
    for number, layers in enumerate(BLOCKS[121], 1):
        for index in range(layers):
            at = f"dense{number}.{index}"
            inner = functional.conv2d(rectified(x, f"{at}.bn1"), state[f"{at}.conv1.weight"])
            inner = functional.conv2d(rectified(inner, f"{at}.bn2"), state[f"{at}.conv2.weight"], padding=1)
            x = torch.cat([inner, x], dim=1)
        if number < 4:
            x = functional.conv2d(rectified(x, f"trans{number}.bn"), state[f"trans{number}.conv.weight"])
            x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
    return rectified(x, "bn").mean(dim=(2, 3)) @ state["linear.weight"].T + state["linear.bias"]


def test_forward_by_hand() -> None:
    model = make(growth=3).double().eval()  # odd, so that a transition rounds down
    draws = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var") or tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=draws)
    expected = forward_by_hand(model.state_dict(), images)
    torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("norm", "biased"), [("none", True), ("noise", True), ("batch", False), ("linf", False)])
def test_biases_are_there_only_without_a_normalisation(norm: str, biased: bool) -> None:
    names = {name for name, _ in hollow(growth=2, norm=norm).named_parameters()}
    for name in ("conv1", "dense2.3.conv1", "dense2.3.conv2", "trans3.conv"):
        assert (f"{name}.bias" in names) == biased
    assert "linear.bias" in names
