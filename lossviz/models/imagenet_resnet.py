"""Residual networks for ImageNet, and the plain networks beside them."""

from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import ImagenetResnet as ImagenetResnetConfig
from lossviz.models.normalization import centres, norm2d
from lossviz.models.shortcuts import shortcut
from lossviz.models.width import scaled

# Blocks of the four stages: He et al. 2015, Table 1.
BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
EXPANSION = 4


class BasicBlock(nn.Module):
    """relu(shortcut(x) + F(x)) with F of two 3x3 convolutions; relu(F(x)) in a plain network."""

    def __init__(self, config: ImagenetResnetConfig, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        bias = not centres(config.norm)
        self.conv1 = nn.Conv2d(channels, wide, 3, stride, padding=1, bias=bias)
        self.bn1 = norm2d(config.norm, wide, config.noise)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=bias)
        self.bn2 = norm2d(config.norm, wide, config.noise)
        self.downsample = shortcut(config.shortcut, channels, wide, stride, config.norm, config.noise)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = functional.relu(self.bn1(self.conv1(inputs)))
        outputs = self.bn2(self.conv2(outputs))
        return _joined(outputs, inputs, self.downsample)


class Bottleneck(nn.Module):
    """The same with F of a 1x1, a 3x3 and a 1x1 convolution, the last to four times the channels."""

    def __init__(self, config: ImagenetResnetConfig, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        bias, inner = not centres(config.norm), wide // EXPANSION
        first, second = (stride, 1) if config.stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(channels, inner, 1, first, bias=bias)
        self.bn1 = norm2d(config.norm, inner, config.noise)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, padding=1, bias=bias)
        self.bn2 = norm2d(config.norm, inner, config.noise)
        self.conv3 = nn.Conv2d(inner, wide, 1, bias=bias)
        self.bn3 = norm2d(config.norm, wide, config.noise)
        self.downsample = shortcut(config.shortcut, channels, wide, stride, config.norm, config.noise)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = functional.relu(self.bn1(self.conv1(inputs)))
        outputs = functional.relu(self.bn2(self.conv2(outputs)))
        outputs = self.bn3(self.conv3(outputs))
        return _joined(outputs, inputs, self.downsample)


class ImagenetResnet(nn.Module):
    """A 7x7 convolution and a 3x3 max-pool, both of stride 2, four stages of blocks, average pool, linear layer.

    Names of parameters are torchvision's (conv1, layer1.0.conv1, layer2.0.downsample.0, fc, ...): with option B and
    stride_in: 3x3 its checkpoints of resnet18 to resnet152 fit.

    Args:
        config: depth, width, shortcut, where bottlenecks stride, normalisation.
        channels: of the input images (N, channels, H, W).
        classes: of the output (N, classes).

    Source:
        He et al. 2015, Table 1.
    """

    def __init__(self, config: ImagenetResnetConfig, channels: int, classes: int) -> None:
        super().__init__()
        first, second, third, fourth = BLOCKS[config.depth]
        stem, *inner = (scaled(full, config.width) for full in (64, 64, 128, 256, 512))
        wide = inner if config.depth < 50 else [EXPANSION * each for each in inner]
        self.conv1 = nn.Conv2d(channels, stem, 7, stride=2, padding=3, bias=not centres(config.norm))
        self.bn1 = norm2d(config.norm, stem, config.noise)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(config, first, stem, wide[0], stride=1)
        self.layer2 = _stage(config, second, wide[0], wide[1], stride=2)
        self.layer3 = _stage(config, third, wide[1], wide[2], stride=2)
        self.layer4 = _stage(config, fourth, wide[2], wide[3], stride=2)
        self.fc = nn.Linear(wide[3], classes)

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.maxpool(functional.relu(self.bn1(self.conv1(images))))
        outputs = self.layer4(self.layer3(self.layer2(self.layer1(outputs))))
        logits: Tensor = self.fc(outputs.mean(dim=(2, 3)))
        return logits


def _stage(config: ImagenetResnetConfig, blocks: int, channels: int, wide: int, stride: int) -> nn.Sequential:
    block = BasicBlock if config.depth < 50 else Bottleneck
    return nn.Sequential(
        block(config, channels, wide, stride), *(block(config, wide, wide, 1) for _ in range(1, blocks))
    )


def _joined(outputs: Tensor, inputs: Tensor, around: nn.Module | None) -> Tensor:
    return functional.relu(outputs if around is None else outputs + around(inputs))
