"""Options A, B and C."""

import pytest
import torch
from torch import nn

from lossviz.config.model import Noise, Norm
from lossviz.models.shortcuts import PadShortcut, shortcut


def test_option_a_by_hand() -> None:
    inputs = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs = PadShortcut(new_channels=2, stride=2)(inputs)
    assert outputs.shape == (2, 5, 4, 3)
    for row in range(4):
        for column in range(3):
            assert torch.equal(outputs[:, :3, row, column], inputs[:, :, 2 * row, 2 * column])
    assert not outputs[:, 3:].any()


@pytest.mark.parametrize(
    ("channels", "wide", "stride", "kinds"),
    [
        (4, 4, 1, (nn.Identity, nn.Identity, nn.Sequential)),
        (4, 8, 2, (PadShortcut, nn.Sequential, nn.Sequential)),
        (4, 16, 1, (PadShortcut, nn.Sequential, nn.Sequential)),
        (4, 4, 2, (PadShortcut, nn.Sequential, nn.Sequential)),
    ],
)
def test_which_shortcut_where(channels: int, wide: int, stride: int, kinds: tuple[type, ...]) -> None:
    made = [shortcut(option, channels, wide, stride, "batch", Noise()) for option in ("A", "B", "C")]
    assert tuple(type(each) for each in made) == kinds
    inputs = torch.randn(2, channels, 6, 6)
    for each in made:
        assert each is not None
        assert each(inputs).shape == (2, wide, 6 // stride, 6 // stride)
    assert shortcut("none", channels, wide, stride, "batch", Noise()) is None


@pytest.mark.parametrize(("norm", "kind", "biased"), [("batch", nn.BatchNorm2d, False), ("none", nn.Identity, True)])
def test_a_projection_is_normalised_as_the_block_is(norm: Norm, kind: type, biased: bool) -> None:
    made = shortcut("B", 4, 8, 2, norm, Noise())
    assert isinstance(made, nn.Sequential)
    convolution, normalisation = made
    assert isinstance(convolution, nn.Conv2d)
    assert (convolution.kernel_size, convolution.stride, convolution.padding) == ((1, 1), (2, 2), (0, 0))
    assert (convolution.bias is not None) == biased
    assert isinstance(normalisation, kind)
