from typing import Any

import pytest
import torch
import torchvision.models
from torch import nn
from torch.nn import functional

from lossviz.config.model import Vgg as VggConfig
from lossviz.models.build import build, count_parameters
from lossviz.models.vgg import Vgg

PUBLISHED = [11, 13, 16, 19]
DEPTHS = [9, *PUBLISHED]


def make(channels: int = 3, classes: int = 10, **keys: Any) -> Vgg:
    model = build(VggConfig(name="vgg", **keys), channels, classes)
    assert isinstance(model, Vgg)
    return model


def weight_layers(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize("depth", PUBLISHED)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_features_are_torchvision_s_layer_by_layer(depth: int, norm: str) -> None:
    suffix = "" if norm == "none" else "_bn"
    theirs = getattr(torchvision.models, f"vgg{depth}{suffix}")(weights=None, init_weights=False).features
    ours = [layer for layer in make(depth=depth, norm=norm).features if not isinstance(layer, nn.Identity)]
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    for layer, other in zip(ours, theirs, strict=True):
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.shape == other.weight.shape
            assert (layer.stride, layer.padding, layer.dilation) == (other.stride, other.padding, other.dilation)
        elif isinstance(layer, nn.MaxPool2d):
            assert (layer.kernel_size, layer.padding, layer.ceil_mode) == (2, 0, False)
            assert layer.stride == other.stride


# The totals that CIFAR-10 reproductions print for convolutions, BatchNorm and one linear layer, where convolutions
# have biases that BatchNorm then subtracts; ours have none: 2752, 2944, 4224 and 5504 fewer.
@pytest.mark.parametrize(
    ("depth", "total", "biases"),
    [(11, 9_231_114, 2_752), (13, 9_416_010, 2_944), (16, 14_728_266, 4_224), (19, 20_040_522, 5_504)],
)
def test_published_parameter_counts(depth: int, total: int, biases: int) -> None:
    assert count_parameters(make(depth=depth, norm="batch", classifier=())) == total - biases
    # Without BatchNorm the biases are there and its two numbers a channel are not.
    assert count_parameters(make(depth=depth, norm="none", classifier=())) == total - 2 * biases


def test_vgg_9_is_li_s() -> None:
    model = make(depth=9, norm="batch")
    shapes = [tuple(layer.weight.shape) for layer in weight_layers(model)]
    convolutions = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256)]
    assert shapes == [*((*pair, 3, 3) for pair in convolutions), (256, 4096), (10, 256)]
    pools = [index for index, layer in enumerate(model.features) if isinstance(layer, nn.MaxPool2d)]
    assert pools == [6, 13, 23]  # after 2, 2 and 3 convolutions of three modules each
    assert isinstance(model.classifier[1], nn.BatchNorm1d)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("norm", ["none", "noise", "batch", "noisy-batch", "l1", "linf"])
def test_depth_counts_the_weight_layers(depth: int, norm: str) -> None:
    model = make(depth=depth, norm=norm, width=0.1)
    layers = weight_layers(model)
    assert len(layers) == depth
    normalisations = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(normalisations) == (depth - 1 if "batch" in norm else 0)
    assert sum(isinstance(module, nn.ReLU) for module in model.modules()) == depth - 1
    # A bias exactly where no normalisation subtracts it.
    assert [layer.bias is not None for layer in layers] == [norm in ("none", "noise")] * (depth - 1) + [True]


@pytest.mark.parametrize(("width", "expected"), [(0.5, [32, 64, 256]), (2.0, [128, 256, 1024]), (0.001, [1, 1, 1])])
def test_width_scales_every_hidden_layer(width: float, expected: list[int]) -> None:
    layers = weight_layers(make(depth=11, width=width))
    widths = [layer.weight.shape[0] for layer in layers]
    assert [widths[index] for index in (0, 1, 9)] == expected
    assert widths[-1] == 10


@pytest.mark.parametrize(
    ("classifier", "shapes"),
    [(None, [(512, 512), (512, 512), (10, 512)]), ((), [(10, 512)]), ((30, 20), [(30, 512), (20, 30), (10, 20)])],
)
def test_classifier(classifier: tuple[int, ...] | None, shapes: list[tuple[int, int]]) -> None:
    layers = weight_layers(make(depth=16, classifier=classifier).classifier)
    assert [tuple(layer.weight.shape) for layer in layers] == shapes


def test_classifier_of_one_s_own_is_not_scaled() -> None:
    assert weight_layers(make(depth=11, width=0.25, classifier=(40,)).classifier)[0].weight.shape == (40, 128)


def test_forward_by_hand() -> None:
    # Norms between convolution and ReLU, max-pools after a stage, nothing after the last layer.
    model = make(depth=9, norm="batch", width=0.1).double().eval()
    layers = [module for module in model.modules() if not list(module.children())]
    weights = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    draws = torch.Generator().manual_seed(0)
    for norm in norms:
        assert norm.running_mean is not None
        norm.running_mean.uniform_(-1, 1, generator=draws)
    inputs = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=draws)
    x = inputs
    for number, (layer, norm) in enumerate(zip(weights[:7], norms[:7], strict=True)):
        x = functional.relu(norm(functional.conv2d(x, layer.weight, padding=1)))
        if number in (1, 3, 6):
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    x = functional.relu(norms[7](x.reshape(4, -1) @ weights[7].weight.T))
    expected = x @ weights[8].weight.T
    torch.testing.assert_close(model(inputs), expected, rtol=1e-12, atol=1e-12)
    assert float(expected.detach().std()) > 0
