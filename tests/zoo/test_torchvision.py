"""One small classifier of each family of torchvision, in every mode of BatchNorm, against plain loops in float64."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from lossviz import loss_surface
from lossviz.engine.objective import Objective
from tests.zoo import plain

MODES: tuple[Literal["frozen", "batch", "recalibrate"], ...] = ("frozen", "batch", "recalibrate")
_INVERTED = models.efficientnet.MBConvConfig
_WIDTHS = models.regnet.BlockParams.from_init_params(depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8, se_ratio=0.25)
_NEXT = models.convnext.CNBlockConfig
FAMILIES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet": (partial(models.ResNet, models.resnet.BasicBlock, [1, 1, 1, 1], 4), 32),
    "wide and grouped": (
        partial(models.ResNet, models.resnet.Bottleneck, [1, 1, 1, 1], 4, groups=2, width_per_group=8),
        32,
    ),
    "densenet": (partial(models.DenseNet, 4, (2, 2), 8, num_classes=4), 32),
    "mobilenet v2": (partial(models.MobileNetV2, 4, 0.25), 32),
    "mobilenet v3": (partial(models.mobilenet_v3_small, num_classes=4, width_mult=0.25), 32),
    "efficientnet": (
        partial(models.EfficientNet, [_INVERTED(1, 3, 1, 8, 8, 1), _INVERTED(6, 3, 2, 8, 16, 1)], 0.2, num_classes=4),
        32,
    ),
    "shufflenet": (partial(models.ShuffleNetV2, [1, 1, 1], [8, 16, 32, 64, 64], 4), 32),
    "squeezenet": (partial(models.SqueezeNet, "1_1", 4), 32),
    "mnasnet": (partial(models.MNASNet, 0.25, 4), 32),
    "regnet": (partial(models.RegNet, _WIDTHS, 4, stem_width=8), 32),
    "googlenet": (partial(models.GoogLeNet, 4, aux_logits=False, init_weights=False), 32),
    "convnext": (
        partial(
            models.ConvNeXt,
            [_NEXT(8, 16, 1), _NEXT(16, None, 1)],
            0.0,
            num_classes=4,
        ),
        32,
    ),
    "vision transformer": (partial(models.VisionTransformer, 16, 8, 2, 2, 16, 32, num_classes=4), 16),
    "swin": (partial(models.SwinTransformer, [2, 2], 8, [1, 1], [2, 2], [2, 2], num_classes=4), 16),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_line(family: str) -> None:
    """In ragged batches; where there is BatchNorm, most of it is folded."""
    make, size = FAMILIES[family]
    torch.manual_seed(0)
    model = drawn(make()).double()
    inputs, targets = torch.randn(7, 3, size, size, dtype=torch.float64), torch.arange(7) % 4
    batches = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
    direction = {name: 0.1 * torch.randn_like(each) for name, each in model.named_parameters()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for mode in MODES:
        found = loss_surface(model, batches, x=(0, 0.5, 2), directions={"x": direction}, batch_norm=mode)
        for x in (0.0, 0.5):
            there = plain.moved(copy_of(model, make), direction, x).eval()
            if mode == "batch":
                plain.by_batch(there)
            elif mode == "recalibrate":
                plain.recalibrated(there, [batch for batch, _ in batches])
            loss, error = plain.mean_loss(there, batches)
            assert (float(found.loss.sel(x=x)), float(found.error.sel(x=x))) == pytest.approx((loss, error), rel=1e-8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    objective = Objective(model)
    objective.evaluate(batches)
    assert objective.doubts == []


def drawn(model: nn.Module) -> nn.Module:
    """With statistics and parameters of normalisations that are not the first ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                assert isinstance(tensor, Tensor)
                nn.init.uniform_(tensor, 0.7, 1.3)
            for tensor in (module.bias, module.running_mean):
                assert isinstance(tensor, Tensor)
                nn.init.uniform_(tensor, -0.2, 0.2)
    return model


def copy_of(model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
    twin = make().double()
    twin.load_state_dict(model.state_dict())
    return twin
