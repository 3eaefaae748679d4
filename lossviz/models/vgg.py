"""VGG for 32x32 images."""

from torch import Tensor, nn

from lossviz.config.model import Vgg as VggConfig
from lossviz.models.normalization import centres, norm1d, norm2d
from lossviz.models.width import scaled

# Channels of the convolutions between max-pools, at width 1: Simonyan & Zisserman 2014, Table 1 (A, B, D, E);
# 9 as in Li et al. 2018.
STAGES: dict[int, tuple[tuple[int, ...], ...]] = {
    9: ((64, 64), (128, 128), (256, 256, 256)),
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}


class Vgg(nn.Module):
    """3x3 convolutions in stages that each end in a 2x2 max-pool, then a fully connected classifier.

    Every weight layer but the last is followed by the normalisation and a ReLU. A layer has no bias where
    BatchNorm, which would subtract it, follows.

    Args:
        config: depth, width, normalisation, classifier.
        channels: of the input images (N, channels, 32, 32).
        classes: of the output (N, classes).
    """

    def __init__(self, config: VggConfig, channels: int, classes: int) -> None:
        super().__init__()
        bias = not centres(config.norm)
        layers: list[nn.Module] = []
        for stage in STAGES[config.depth]:
            for full in stage:
                wide = scaled(full, config.width)
                layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=bias), norm2d(config.norm, wide, config.noise)]
                layers += [nn.ReLU(inplace=True)]
                channels = wide
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        side = 32 // 2 ** len(STAGES[config.depth])
        channels *= side * side
        layers = []
        for wide in hidden_widths(config):
            layers += [nn.Linear(channels, wide, bias=bias), norm1d(config.norm, wide, config.noise)]
            layers += [nn.ReLU(inplace=True)]
            channels = wide
        self.classifier = nn.Sequential(*layers, nn.Linear(channels, classes))

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.classifier(self.features(images).flatten(1))
        return outputs


def hidden_widths(config: VggConfig) -> tuple[int, ...]:
    """Widths of the classifier's hidden layers."""
    if config.classifier is not None:
        return config.classifier
    default = (256,) if config.depth == 9 else (512, 512)
    return tuple(scaled(full, config.width) for full in default)
