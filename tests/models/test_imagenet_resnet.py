"""ImageNet's residual networks against Table 1 of He et al. 2015, torchvision, and forward passes by hand."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import ImagenetResnet as ImagenetResnetConfig
from lossviz.models.build import build, count_parameters
from lossviz.models.imagenet_resnet import ImagenetResnet

DEPTHS = [18, 34, 50, 101, 152]
OPTIONS = ["A", "B", "C", "none"]
# He et al. 2015, Table 1: blocks of conv2_x to conv5_x, and 10^9 multiply-adds.
TABLE_1 = {
    18: ((2, 2, 2, 2), 1.8),
    34: ((3, 4, 6, 3), 3.6),
    50: ((3, 4, 6, 3), 3.8),
    101: ((3, 4, 23, 3), 7.6),
    152: ((3, 8, 36, 3), 11.3),
}
# torchvision's documentation of its ResNets, which have option B.
PUBLISHED = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}


def hollow(**keys: Any) -> ImagenetResnet:
    """A network without numbers, for shapes."""
    with torch.device("meta"):
        return ImagenetResnet(ImagenetResnetConfig(name="resnet-imagenet", **keys), 3, 1000)


def make(classes: int = 10, **keys: Any) -> ImagenetResnet:
    model = build(ImagenetResnetConfig(name="resnet-imagenet", **keys), 3, classes)
    assert isinstance(model, ImagenetResnet)
    return model


@pytest.mark.parametrize(("depth", "shortcut"), [(18, "A"), (34, "none"), (50, "B"), (101, "C"), (152, "B")])
def test_sizes_of_table_1(depth: int, shortcut: str) -> None:
    model = hollow(depth=depth, shortcut=shortcut)
    sizes: dict[str, tuple[int, ...]] = {}
    for name in ("conv1", "maxpool", *(f"layer{number}" for number in (1, 2, 3, 4)), "fc"):
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: sizes.update({name: tuple(output.shape[1:])})
        )
    model(torch.empty(1, 3, 224, 224, device="meta"))
    factor = 1 if depth < 50 else 4
    assert sizes == {
        "conv1": (64, 112, 112),
        "maxpool": (64, 56, 56),
        "layer1": (64 * factor, 56, 56),
        "layer2": (128 * factor, 28, 28),
        "layer3": (256 * factor, 14, 14),
        "layer4": (512 * factor, 7, 7),
        "fc": (1000,),
    }


@pytest.mark.parametrize("depth", DEPTHS)
def test_layers_of_table_1(depth: int) -> None:
    """Kernel and channels of every weight layer, row by row."""
    expected = [(7, 64)]
    for blocks, wide in zip(TABLE_1[depth][0], (64, 128, 256, 512), strict=True):
        expected += blocks * ([(3, wide), (3, wide)] if depth < 50 else [(1, wide), (3, wide), (1, 4 * wide)])
    convolutions = {
        name: module for name, module in hollow(depth=depth).named_modules() if isinstance(module, nn.Conv2d)
    }
    found = [
        (module.kernel_size[0], module.out_channels) for name, module in convolutions.items() if "downs" not in name
    ]
    assert found == expected
    assert len(found) + 1 == depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_multiply_adds_of_table_1(depth: int) -> None:
    """Within 0.1 of the printed number; He's stride in the first 1x1 is what makes it 3.8 for 50 and not 4.1."""

    def operations(**keys: Any) -> float:
        model, total = hollow(depth=depth, **keys), Counter[str]()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(
                    lambda module, _, output: total.update(
                        all=module.weight[0].numel() * output.numel(),
                    )
                )
        model(torch.empty(1, 3, 224, 224, device="meta"))
        return total["all"] / 1e9

    shortcut, printed = "A" if depth < 50 else "B", TABLE_1[depth][1]
    assert abs(operations(shortcut=shortcut, stride_in="1x1") - printed) < 0.1
    if depth < 50:
        # "Plain and residual networks have the same number of parameters, depth, width, and computational cost."
        assert operations(shortcut="A") == operations(shortcut="none")
    else:
        assert operations(shortcut=shortcut) > printed + 0.2


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameter_counts(depth: int) -> None:
    counts = {shortcut: count_parameters(hollow(depth=depth, shortcut=shortcut)) for shortcut in OPTIONS}
    assert counts["B"] == PUBLISHED[depth]
    wide = [64, 128, 256, 512] if depth < 50 else [256, 512, 1024, 2048]
    changes = [*([(64, 256)] if depth >= 50 else []), *pairwise(wide)]
    # A projection of a to b channels has a * b weights, and two numbers a channel in its BatchNorm.
    projections = sum(a * b + 2 * b for a, b in changes)
    assert counts["A"] == counts["none"] == PUBLISHED[depth] - projections
    same = [b for blocks, b in zip(TABLE_1[depth][0], wide, strict=True) for _ in range(blocks - 1)]
    same += [64] if depth < 50 else []  # the first block of conv2_x changes nothing
    assert counts["C"] == PUBLISHED[depth] + sum(b * b + 2 * b for b in same)


def test_plain_34_by_hand() -> None:
    count = 7 * 7 * 3 * 64 + 2 * 64 + 512 * 1000 + 1000
    before = 64
    for blocks, wide in ((3, 64), (4, 128), (6, 256), (3, 512)):
        count += 9 * before * wide + (2 * blocks - 1) * 9 * wide * wide + 2 * blocks * 2 * wide
        before = wide
    assert count == 21_623_848
    assert (
        count_parameters(hollow(depth=34, shortcut="none")) == count_parameters(hollow(depth=34, shortcut="A")) == count
    )


@pytest.mark.parametrize("depth", DEPTHS)
def test_names_and_shapes_are_torchvision_s(depth: int) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(f"resnet{depth}", weights=None)
    shapes = [(name, tensor.shape) for name, tensor in theirs.state_dict().items()]
    assert [(name, tensor.shape) for name, tensor in hollow(depth=depth).state_dict().items()] == shapes


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_torchvision_s_weights_load_unchanged_and_give_its_outputs(depth: int) -> None:
    """In float64, with batch statistics, and then with the running ones that this leaves."""
    torch.manual_seed(depth)
    theirs = torchvision.models.get_model(f"resnet{depth}", weights=None).double()
    ours = hollow(depth=depth)
    ours.load_state_dict({name: tensor.clone() for name, tensor in theirs.state_dict().items()}, assign=True)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for mode in (True, False):
        with torch.no_grad():
            expected = theirs.train(mode)(images)
            torch.testing.assert_close(ours.train(mode)(images), expected, rtol=1e-9, atol=1e-9)
        assert expected.std() > 1e-3


def test_single_precision_agrees_to_1e_5() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None)
    ours = hollow(depth=18)
    ours.load_state_dict({name: tensor.clone() for name, tensor in theirs.state_dict().items()}, assign=True)
    images = torch.randn(4, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


def norm_by_hand(values: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    weight, bias, mean, variance = (
        state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
    )
    return (values - mean) / (variance + 1e-5).sqrt() * weight + bias


def forward_by_hand(state: dict[str, Tensor], x: Tensor, depth: int, shortcut: str, stride_in: str) -> Tensor:
    x = functional.relu(norm_by_hand(functional.conv2d(x, state["conv1.weight"], stride=2, padding=3), state, "bn1"))
    x = functional.pad(x, (1, 1, 1, 1), value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2).amax(dim=(4, 5))
    for layer, blocks in enumerate(TABLE_1[depth][0], 1):
        for index in range(blocks):
            at, stride, inner = f"layer{layer}.{index}", 2 if layer > 1 and index == 0 else 1, x
            kernels = (3, 3) if depth < 50 else (1, 3, 1)
            striding = 0 if depth < 50 or stride_in == "1x1" else 1
            for number, kernel in enumerate(kernels):
                inner = functional.relu(inner) if number else inner
                weight = state[f"{at}.conv{number + 1}.weight"]
                assert weight.shape[2] == kernel
                inner = functional.conv2d(
                    inner, weight, stride=stride if number == striding else 1, padding=kernel // 2
                )
                inner = norm_by_hand(inner, state, f"{at}.bn{number + 1}")
            changes = inner.shape != x.shape
            if shortcut == "C" or (shortcut == "B" and changes):
                x = functional.conv2d(x, state[f"{at}.downsample.0.weight"], stride=stride)
                x = norm_by_hand(x, state, f"{at}.downsample.1")
            elif shortcut == "A" and changes:
                x = x[:, :, ::stride, ::stride]
                x = torch.cat([x, x.new_zeros(len(x), inner.shape[1] - x.shape[1], *x.shape[2:])], dim=1)
            x = functional.relu(inner if shortcut == "none" else inner + x)
    return x.mean(dim=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("stride_in", ["3x3", "1x1"])
@pytest.mark.parametrize("shortcut", OPTIONS)
@pytest.mark.parametrize("depth", [18, 50])
def test_forward_by_hand(depth: int, shortcut: str, stride_in: str) -> None:
    model = make(depth=depth, shortcut=shortcut, stride_in=stride_in, width=0.0625).double().eval()
    draws = torch.Generator().manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var") or tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=draws)
    expected = forward_by_hand(model.state_dict(), images, depth, shortcut, stride_in)
    torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("depth", [18, 50])
def test_only_a_plain_network_is_cut_by_dead_blocks(depth: int) -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    last = "conv2" if depth < 50 else "conv3"
    for shortcut in OPTIONS:
        model = make(depth=depth, shortcut=shortcut, width=0.0625).eval()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if name.startswith("layer") and last in name:
                    tensor.zero_()
            first, second = model(images)
        assert torch.equal(first, second) == (shortcut == "none")


def test_c_projects_around_every_block() -> None:
    for depth in DEPTHS:
        for shortcut, count in (("C", sum(TABLE_1[depth][0])), ("B", 3 if depth < 50 else 4), ("A", 0), ("none", 0)):
            model = hollow(depth=depth, shortcut=shortcut)
            around = [name for name, _ in model.named_parameters() if "downsample.0.weight" in name]
            assert len(around) == count


@pytest.mark.parametrize(("side", "left"), [(32, 1), (64, 2), (65, 3), (224, 7)])
@pytest.mark.parametrize("shortcut", OPTIONS)
def test_images_of_any_size(side: int, left: int, shortcut: str) -> None:
    model = hollow(depth=50, shortcut=shortcut)
    seen: list[torch.Size] = []
    model.layer4.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[2:]))
    assert model(torch.empty(2, 3, side, side, device="meta")).shape == (2, 1000)
    assert seen == [(left, left)]


def test_width_scales_every_stage() -> None:
    model = hollow(depth=50, width=0.25)
    assert [model.get_parameter(f"layer{layer}.0.conv2.weight").shape[0] for layer in (1, 2, 3, 4)] == [16, 32, 64, 128]
    assert model.fc.weight.shape == (1000, 512)
    assert model.conv1.weight.shape[0] == 16


@pytest.mark.parametrize(("norm", "biased"), [("none", True), ("noise", True), ("batch", False), ("l1", False)])
def test_biases_are_there_only_without_a_normalisation(norm: str, biased: bool) -> None:
    convolutions = [each for each in hollow(depth=50, norm=norm).modules() if isinstance(each, nn.Conv2d)]
    assert {each.bias is not None for each in convolutions} == {biased}


def test_initialisation_is_he_s_with_fan_in() -> None:
    model = make(depth=18, width=0.5)
    for name, fan_in in (("conv1", 3 * 49), ("layer2.0.conv1", 32 * 9), ("layer2.0.downsample.0", 32), ("fc", 256)):
        weight = model.get_parameter(f"{name}.weight").detach().double()
        ratio = weight.square().mean() * fan_in / 2
        assert abs(float(ratio) - 1) < 5 * (2 / weight.numel()) ** 0.5
    assert not model.fc.bias.any()
