"""DenseNets for 32x32 images."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import Densenet as DensenetConfig
from lossviz.models.normalization import centres, norm2d

# Layers of the four dense blocks: Huang et al. 2017, Table 1.
BLOCKS: dict[int, tuple[int, int, int, int]] = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
}


class Bottleneck(nn.Module):
    """[F(x), x] with F a 1x1 convolution to 4 * growth channels and a 3x3 one to growth, both after norm and ReLU."""

    def __init__(self, config: DensenetConfig, channels: int) -> None:
        super().__init__()
        bias, inner = not centres(config.norm), 4 * config.growth
        self.bn1 = norm2d(config.norm, channels, config.noise)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=bias)
        self.bn2 = norm2d(config.norm, inner, config.noise)
        self.conv2 = nn.Conv2d(inner, config.growth, 3, padding=1, bias=bias)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.conv1(functional.relu(self.bn1(inputs)))
        outputs = self.conv2(functional.relu(self.bn2(outputs)))
        return torch.cat([outputs, inputs], dim=1)


class Transition(nn.Module):
    """Norm, ReLU, a 1x1 convolution to half of the channels, 2x2 average pool."""

    def __init__(self, config: DensenetConfig, channels: int) -> None:
        super().__init__()
        self.bn = norm2d(config.norm, channels, config.noise)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=not centres(config.norm))

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.avg_pool2d(self.conv(functional.relu(self.bn(inputs))), 2)


class Densenet(nn.Module):
    """A 3x3 convolution to 2 * growth channels, four dense blocks with transitions between, norm, ReLU, linear layer.

    Names of parameters, and the order of channels in a block (latest first), are those of Li et al.'s code.

    Args:
        config: depth, growth, normalisation.
        channels: of the input images (N, channels, H, W), H and W at least 8.
        classes: of the output (N, classes).

    Source:
        Huang et al. 2017, DenseNet-BC; with the stem that Li et al. 2018 use for CIFAR-10.
    """

    def __init__(self, config: DensenetConfig, channels: int, classes: int) -> None:
        super().__init__()
        first, second, third, fourth = BLOCKS[config.depth]
        wide = 2 * config.growth
        self.conv1 = nn.Conv2d(channels, wide, 3, padding=1, bias=not centres(config.norm))
        self.dense1, wide = _dense(config, first, wide)
        self.trans1, wide = Transition(config, wide), wide // 2
        self.dense2, wide = _dense(config, second, wide)
        self.trans2, wide = Transition(config, wide), wide // 2
        self.dense3, wide = _dense(config, third, wide)
        self.trans3, wide = Transition(config, wide), wide // 2
        self.dense4, wide = _dense(config, fourth, wide)
        self.bn = norm2d(config.norm, wide, config.noise)
        self.linear = nn.Linear(wide, classes)

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.trans1(self.dense1(self.conv1(images)))
        outputs = self.trans2(self.dense2(outputs))
        outputs = self.trans3(self.dense3(outputs))
        outputs = functional.relu(self.bn(self.dense4(outputs)))
        logits: Tensor = self.linear(outputs.mean(dim=(2, 3)))
        return logits


def _dense(config: DensenetConfig, layers: int, channels: int) -> tuple[nn.Sequential, int]:
    """A dense block and the channels that it ends with."""
    inputs = [channels + i * config.growth for i in range(layers)]
    return nn.Sequential(*(Bottleneck(config, each) for each in inputs)), channels + layers * config.growth
