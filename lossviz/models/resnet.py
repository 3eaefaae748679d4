"""Residual networks for 32x32 images, and the plain networks beside them."""

from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import Resnet as ResnetConfig
from lossviz.models.normalization import centres, norm2d
from lossviz.models.shortcuts import shortcut
from lossviz.models.width import scaled


class Block(nn.Module):
    """relu(shortcut(x) + F(x)) with F of two 3x3 convolutions; relu(F(x)) in a plain network."""

    def __init__(self, config: ResnetConfig, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        bias = not centres(config.norm)
        self.conv1 = nn.Conv2d(channels, wide, 3, stride, padding=1, bias=bias)
        self.bn1 = norm2d(config.norm, wide, config.noise)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=bias)
        self.bn2 = norm2d(config.norm, wide, config.noise)
        self.shortcut = shortcut(config.shortcut, channels, wide, stride, config.norm, config.noise)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = functional.relu(self.bn1(self.conv1(inputs)))
        outputs = self.bn2(self.conv2(outputs))
        if self.shortcut is not None:
            outputs = outputs + self.shortcut(inputs)
        return functional.relu(outputs)


class Resnet(nn.Module):
    """A 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels, average pool, linear layer.

    Names of parameters are those of Li et al.'s published checkpoints (conv1, layer1.0.conv1, linear, ...).

    Args:
        config: depth 6n + 2, width, shortcut, normalisation.
        channels: of the input images (N, channels, H, W).
        classes: of the output (N, classes).

    Source:
        He et al. 2015, section 4.2.
    """

    def __init__(self, config: ResnetConfig, channels: int, classes: int) -> None:
        super().__init__()
        first, second, third = (scaled(full, config.width) for full in (16, 32, 64))
        blocks = (config.depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, first, 3, padding=1, bias=not centres(config.norm))
        self.bn1 = norm2d(config.norm, first, config.noise)
        self.layer1 = _stage(config, blocks, first, first, stride=1)
        self.layer2 = _stage(config, blocks, first, second, stride=2)
        self.layer3 = _stage(config, blocks, second, third, stride=2)
        self.linear = nn.Linear(third, classes)

    def forward(self, images: Tensor) -> Tensor:
        outputs = functional.relu(self.bn1(self.conv1(images)))
        outputs = self.layer3(self.layer2(self.layer1(outputs)))
        logits: Tensor = self.linear(outputs.mean(dim=(2, 3)))
        return logits


def _stage(config: ResnetConfig, blocks: int, channels: int, wide: int, stride: int) -> nn.Sequential:
    first = Block(config, channels, wide, stride)
    return nn.Sequential(first, *(Block(config, wide, wide, 1) for _ in range(blocks - 1)))
