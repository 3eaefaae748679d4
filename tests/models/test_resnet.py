import re
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import Resnet as ResnetConfig
from lossviz.models.build import build, count_parameters
from lossviz.models.resnet import Resnet

DEPTHS = [8, 14, 20, 32, 44, 56, 110]
# A few names and shapes of Li et al.'s resnet56.t7, whose shortcuts are option B.
PUBLISHED_NAMES = {
    "conv1.weight": (16, 3, 3, 3),
    "bn1.weight": (16,),
    "bn1.bias": (16,),
    "bn1.running_mean": (16,),
    "bn1.running_var": (16,),
    "layer1.0.conv1.weight": (16, 16, 3, 3),
    "layer1.0.bn1.weight": (16,),
    "layer1.8.bn2.running_var": (16,),
    "layer2.0.conv1.weight": (32, 16, 3, 3),
    "layer2.0.conv2.weight": (32, 32, 3, 3),
    "layer2.0.shortcut.0.weight": (32, 16, 1, 1),
    "layer2.0.shortcut.1.weight": (32,),
    "layer2.0.shortcut.1.bias": (32,),
    "layer2.0.shortcut.1.running_mean": (32,),
    "layer2.0.shortcut.1.running_var": (32,),
    "layer3.0.shortcut.0.weight": (64, 32, 1, 1),
    "layer3.8.conv2.weight": (64, 64, 3, 3),
    "linear.weight": (10, 64),
    "linear.bias": (10,),
}


def make(channels: int = 3, classes: int = 10, **keys: Any) -> Resnet:
    model = build(ResnetConfig(name="resnet", **keys), channels, classes)
    assert isinstance(model, Resnet)
    return model


# Li et al.'s checkpoints (B and none), and He et al.'s option A, which adds no parameters to the plain network.
@pytest.mark.parametrize(
    ("depth", "shortcut", "count"),
    [
        (20, "B", 272_474),
        (56, "B", 855_770),
        (20, "none", 269_722),
        (56, "none", 853_018),
        (20, "A", 269_722),
        (56, "A", 853_018),
    ],
)
def test_published_parameter_counts(depth: int, shortcut: str, count: int) -> None:
    assert count_parameters(make(depth=depth, shortcut=shortcut)) == count


@pytest.mark.parametrize(("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")])
def test_parameter_counts_of_he_s_table_6(depth: int, millions: str) -> None:
    decimals = len(millions.partition(".")[2])
    assert f"{count_parameters(make(depth=depth, shortcut='A')) / 1e6:.{decimals}f}" == millions


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_depth_counts_the_weight_layers_on_the_longest_path(depth: int, shortcut: str) -> None:
    model = make(depth=depth, shortcut=shortcut, width=0.1)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len([name for name in layers if "shortcut" not in name]) == depth
    assert [name for name in layers if "shortcut" in name] == (
        ["layer2.0.shortcut.0", "layer3.0.shortcut.0"] if shortcut == "B" else []
    )


def test_names_and_shapes_are_those_of_the_published_checkpoint() -> None:
    state = make(depth=56, shortcut="B").state_dict()
    assert {name: tuple(state[name].shape) for name in PUBLISHED_NAMES} == PUBLISHED_NAMES
    convolution = r"conv[12]\.weight"
    norm = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    block = rf"layer[123]\.[0-8]\.({convolution}|bn[12]{norm}|shortcut\.(0\.weight|1{norm}))"
    names = re.compile(rf"conv1\.weight|bn1{norm}|linear\.(weight|bias)|{block}")
    assert [name for name in state if not names.fullmatch(name)] == []
    assert not [name for name in make(depth=56, shortcut="none").state_dict() if "shortcut" in name]


def state_of(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Random numbers for all that is trained, so that nothing is hidden by ones and zeros."""
    draws = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var") or tensor.dim() == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=draws) + 0.5)
    return model.state_dict()


def forward_by_hand(state: dict[str, Tensor], x: Tensor, blocks: int, shortcut: str) -> Tensor:
    def norm(values: Tensor, name: str) -> Tensor:
        weight, bias, mean, variance = (
            state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        )
        return (values - mean) / (variance + 1e-5).sqrt() * weight + bias

    x = functional.relu(norm(functional.conv2d(x, state["conv1.weight"], padding=1), "bn1"))
    for layer in (1, 2, 3):
        for index in range(blocks):
            at, stride = f"layer{layer}.{index}", 2 if layer > 1 and index == 0 else 1
            inner = functional.conv2d(x, state[f"{at}.conv1.weight"], stride=stride, padding=1)
            inner = functional.relu(norm(inner, f"{at}.bn1"))
            inner = norm(functional.conv2d(inner, state[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
            if shortcut == "B" and stride == 2:
                x = norm(functional.conv2d(x, state[f"{at}.shortcut.0.weight"], stride=2), f"{at}.shortcut.1")
            elif shortcut == "A" and stride == 2:
                x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], dim=1)
            x = functional.relu(inner if shortcut == "none" else inner + x)
    return x.mean(dim=(2, 3)) @ state["linear.weight"].T + state["linear.bias"]


@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_forward_by_hand(shortcut: str) -> None:
    model = make(depth=14, shortcut=shortcut, width=0.25).double().eval()
    inputs = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = forward_by_hand(state_of(model), inputs, blocks=2, shortcut=shortcut)
    torch.testing.assert_close(model(inputs), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_only_a_plain_network_is_cut_by_dead_blocks(shortcut: str) -> None:
    model = make(depth=8, shortcut=shortcut).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith("layer") and "conv2" in name:
                tensor.zero_()
        inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        first, second = model(inputs)
    assert torch.equal(first, second) == (shortcut == "none")


def test_biases_are_there_only_without_batchnorm() -> None:
    for norm, expected in (("none", True), ("noise", True), ("batch", False), ("noisy-batch", False), ("l2", False)):
        model = make(depth=8, norm=norm, shortcut="B")
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        assert {module.bias is not None for module in convolutions} == {expected}


def test_width_scales_the_three_stages() -> None:
    model = make(depth=8, width=0.75, shortcut="A")
    assert [model.get_parameter(f"layer{layer}.0.conv2.weight").shape[0] for layer in (1, 2, 3)] == [12, 24, 48]
    wide = count_parameters(make(depth=56, width=2.0))
    assert 3.9 * 855_770 < wide < 4 * 855_770


def wide_count(k: int, shortcut: str) -> int:
    """WRN-56-k by hand: stages of 16k, 32k and 64k channels (Li et al. 2018), 9 blocks each."""
    count = 3 * 9 * 16 * k + 2 * 16 * k
    before = 16 * k
    for wide in (16 * k, 32 * k, 64 * k):
        count += 9 * before * wide + 17 * 9 * wide**2 + 18 * 2 * wide
        if shortcut == "B" and before != wide:
            count += before * wide + 2 * wide
        before = wide
    return count + 64 * k * 10 + 10


@pytest.mark.parametrize("shortcut", ["B", "none"])
@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_wide_networks_of_li(k: int, shortcut: Literal["B", "none"]) -> None:
    with torch.device("meta"):
        model = Resnet(ResnetConfig(name="resnet", depth=56, width=float(k), shortcut=shortcut), 3, 10)
    assert count_parameters(model) == wide_count(k, shortcut)
    assert wide_count(1, shortcut) == {"B": 855_770, "none": 853_018}[shortcut]
    assert model.conv1.weight.shape[0] == 16 * k
    for number in (1, 2, 3):
        stage = model.get_submodule(f"layer{number}")
        convolutions = [each for each in stage.modules() if isinstance(each, nn.Conv2d)]
        assert {each.out_channels for each in convolutions} == {2 ** (number - 1) * 16 * k}


def test_other_depths_are_refused_with_their_neighbours() -> None:
    with pytest.raises(ValidationError, match=r"depth = 18: is not 6n \+ 2; the nearest are 14 and 20"):
        ResnetConfig(name="resnet", depth=18)
