"""The shortcuts of residual blocks: options A, B and C of He et al. 2015, section 4.1."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.model import Noise, Norm
from lossviz.models.normalization import centres, norm2d


class PadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the channels that are new; no parameters.

    Example:
        >>> import torch
        >>> PadShortcut(new_channels=16, stride=2)(torch.zeros(1, 16, 32, 32)).shape
        torch.Size([1, 32, 16, 16])
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def shortcut(
    option: Literal["A", "B", "C", "none"], channels: int, wide: int, stride: int, norm: Norm, noise: Noise
) -> nn.Module | None:
    """The shortcut of a residual block: (N, channels, H, W) -> (N, wide, H / stride, W / stride).

    Where the shape changes, A pads with zeros and B projects by a 1x1 convolution and a normalisation; where it does
    not, both are the identity. C projects everywhere. A plain network has none.
    """
    if option == "none":
        return None
    changes = stride != 1 or channels != wide
    if option == "C" or (option == "B" and changes):
        projection = nn.Conv2d(channels, wide, 1, stride, bias=not centres(norm))
        return nn.Sequential(projection, norm2d(norm, wide, noise))
    return PadShortcut(wide - channels, stride) if changes else nn.Identity()
