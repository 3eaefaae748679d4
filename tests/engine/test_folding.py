"""Folded BatchNorm against the network itself."""

import pytest
import torch
from torch import nn

from lossviz.config.model import Model, Resnet, Vgg
from lossviz.engine.folding import Folded
from lossviz.models.build import build

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


def test_batchnorm_is_gone() -> None:
    folded = Folded(trained(Vgg(name="vgg", depth=9, width=0.125, norm="batch"), torch.float32)).refresh()
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in folded.modules())
