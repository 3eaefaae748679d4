"""Folded BatchNorm against the network itself."""

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from lossviz.config.model import Model, Resnet, Vgg
from lossviz.engine.folding import Folded, foldable
from lossviz.models.build import build
from lossviz.models.duplicate import duplicate
from tests.engine.odd_networks import UNFOLDABLE, InOrder
from tests.zoo.networks import InDict, InList, Net, TwoNames

NETWORKS: list[Model] = [
    Resnet(name="resnet", depth=8),
    Resnet(name="resnet", depth=8, shortcut="A"),
    Resnet(name="resnet", depth=8, shortcut="none", norm="noisy-batch"),
    Vgg(name="vgg", depth=9, width=0.125, norm="batch"),
    Vgg(name="vgg", depth=9, width=0.125, norm="l2"),
    Vgg(name="vgg", depth=9, width=0.125),
]


def trained(config: Model, dtype: torch.dtype) -> nn.Module:
    """A network none of whose numbers are the initial ones."""
    torch.manual_seed(0)
    model = build(config, 3, 10).to(dtype)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return model.to(memory_format=torch.channels_last).eval()


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: f"{config.name}-{config.norm}")
def test_equals_the_network(config: Model) -> None:
    """To 1e-10 in float64, before and after the network moved; losses to 1e-5 in float32."""
    model = trained(config, torch.float64)
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    folded = Folded(model)
    for _ in range(2):
        torch.testing.assert_close(folded.refresh()(images), model(images), rtol=1e-10, atol=1e-10)
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.is_floating_point():
                    tensor.mul_(1.1)
    single = trained(config, torch.float32)
    labels = torch.arange(5)
    loss, plain = (
        nn.functional.cross_entropy(each(images.float()), labels) for each in (Folded(single).refresh(), single)
    )
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=0)


def test_the_network_itself_stays() -> None:
    model = trained(NETWORKS[0], torch.float64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Folded(model).refresh()(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) > 0


def test_batchnorm_after_convolutions_is_gone() -> None:
    model = trained(Vgg(name="vgg", depth=9, width=0.125, norm="batch"), torch.float32)
    folded = Folded(model)
    assert folded.count == sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.refresh().modules())


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, with every parameter and statistic drawn, in eval mode."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*model.double().parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=draws, dtype=torch.float64) - 0.3)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
                module.running_var.add_(0.8)
    return model.eval()


def agrees(model: nn.Module, inputs: Tensor, pairs: list[tuple[str, str]]) -> None:
    """What is folded, and that the copy is the network, before and after every number changed."""
    assert foldable(model) == pairs
    folded = Folded(model)
    assert folded.count == len(pairs)
    for seed in (1, 2):
        with torch.no_grad():
            torch.testing.assert_close(folded.refresh()(inputs), model(inputs), rtol=1e-9, atol=1e-9)
        drawn(model, seed)


IMAGES = torch.randn(5, 4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
ROWS = IMAGES[..., 0]
VECTORS = IMAGES[..., 0, 0]


@pytest.mark.parametrize("case", UNFOLDABLE)
def test_what_cannot_be_folded_stays_and_is_right(case: str) -> None:
    """The data flow decides, not the order of definition."""
    pairs = [("other", "norm")] if case == "defined after, fed by another" else []
    agrees(drawn(UNFOLDABLE[case]()), IMAGES, pairs)


FOLDABLE: dict[str, tuple[nn.Module, Tensor, list[tuple[str, str]]]] = {
    "in order": (InOrder(), IMAGES, [("conv", "norm")]),
    "grouped": (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8)), IMAGES, [("0", "1")]),
    "depthwise": (nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)), IMAGES, [("0", "1")]),
    "dilated": (nn.Sequential(nn.Conv2d(4, 3, 2, dilation=2, stride=2), nn.BatchNorm2d(3)), IMAGES, [("0", "1")]),
    "reflecting": (
        nn.Sequential(nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(3)),
        IMAGES,
        [("0", "1")],
    ),
    "one dimension": (nn.Sequential(nn.Conv1d(4, 3, 2), nn.BatchNorm1d(3)), ROWS, [("0", "1")]),
    "three dimensions": (
        nn.Sequential(nn.Conv3d(4, 3, 2), nn.BatchNorm3d(3)),
        IMAGES[..., None].expand(-1, -1, -1, -1, 3),
        [("0", "1")],
    ),
    "not affine": (nn.Sequential(nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3, affine=False, eps=0.1)), IMAGES, [("0", "1")]),
    "two in a row": (
        nn.Sequential(nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3), nn.BatchNorm2d(3)),
        IMAGES,
        [("0", "1")],
    ),
    "vectors": (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)), VECTORS, []),
    "rows of vectors": (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), ROWS, []),
    "rows of other vectors": (nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(4)), ROWS, []),
}


@pytest.mark.parametrize("case", FOLDABLE)
def test_what_can_be_folded(case: str) -> None:
    """Linear layers are left alone: of (N, L, C) they change C, and BatchNorm1d normalises L."""
    model, inputs, pairs = FOLDABLE[case]
    agrees(drawn(duplicate(model)), inputs, pairs)


@pytest.mark.parametrize(
    ("make", "count"),
    [(models.resnet18, 20), (models.mobilenet_v3_small, 34), (models.densenet121, 59)],
    ids=["resnet18", "mobilenet_v3_small", "densenet121"],
)
def test_networks_of_torchvision(make: type[nn.Module], count: int) -> None:
    """Shortcuts with BatchNorm, squeeze and excitation, concatenations: outputs to 1e-5 in float32."""
    torch.manual_seed(0)
    model = make(num_classes=5).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.running_var):
                    assert tensor is not None
                    tensor.uniform_(0.7, 1.3)
                for tensor in (module.bias, module.running_mean):
                    assert tensor is not None
                    tensor.uniform_(-0.2, 0.2)
        folded, images = Folded(model), torch.randn(2, 3, 64, 64)
        plain = model(images)
        assert folded.count == count
        assert (folded.refresh()(images) - plain).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.parametrize("make", [InList, InDict, TwoNames])
def test_layers_that_are_reached_by_other_references(make: type[Net]) -> None:
    """The norm itself becomes the identity, whoever calls it."""
    model = drawn(make())
    folded = Folded(model)
    assert folded.count == 2
    inputs = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    for seed in (1, 2):
        with torch.no_grad():
            torch.testing.assert_close(folded.refresh()(inputs), model(inputs), rtol=1e-9, atol=1e-9)
        drawn(model, seed)


def test_tensors_that_are_exchanged_are_followed() -> None:
    """By name: a re-assigned statistic, a new weight."""
    model = Net()
    drawn(model)
    folded = Folded(model)
    model.get_submodule("norm1").register_buffer("running_mean", torch.full((4,), 0.3, dtype=torch.float64))
    model.head.weight = nn.Parameter(torch.full((4, 5), 0.2, dtype=torch.float64))
    model.conv2.weight = nn.Parameter(2 * model.conv2.weight.detach())
    inputs = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded.refresh()(inputs), model(inputs), rtol=1e-9, atol=1e-9)


def test_only_folded_weights_are_copied() -> None:
    """All others, frozen ones too, are the network's own tensors."""
    model = Net()
    twin = dict(Folded(model).refresh().named_parameters())
    other = {name for name, tensor in model.named_parameters() if twin[name] is not tensor}
    assert other == {"conv1.weight", "conv2.weight"}
