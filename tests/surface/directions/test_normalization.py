"""Filter normalisation against a reference written from the formula in Li et al. 2018."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.surface.directions.normalization import rescale
from lossviz.surface.subspace import Subspace


def reference(direction: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Section 4 of the paper: every filter of the direction gets the Frobenius norm of the network's filter."""
    out = np.empty_like(direction)
    for i in range(len(direction)):
        d, w = direction[i].ravel(), weights[i].ravel()
        out[i] = direction[i] / (np.sqrt((d * d).sum()) + 1e-10) * np.sqrt((w * w).sum())
    return out


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (7, 4), (1, 9), (6, 1)])
def test_filter_normalisation(shape: tuple[int, ...]) -> None:
    draws = np.random.default_rng(0)
    direction, weights = draws.normal(size=shape), draws.normal(size=shape)
    weights[0] = 0
    found = rescale(torch.from_numpy(direction), torch.from_numpy(weights), "filter").numpy()
    np.testing.assert_allclose(found, reference(direction, weights), rtol=1e-10, atol=0)
    assert not found[0].any()  # a filter of zeros stays one


def test_filter_normalisation_of_a_vector_is_not_a_copy_of_the_weights() -> None:
    """Elementwise, every 'filter' of a bias would be +-w_i: both axes of the plane would be the same."""
    weights = torch.linspace(1, 2, 8, dtype=torch.float64)
    first, second = (torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    a, b = rescale(first, weights, "filter"), rescale(second, weights, "filter")
    assert not torch.allclose(a.abs(), b.abs())
    torch.testing.assert_close(a.norm(), weights.norm())


def outputs_alone(layer: nn.Module, inputs: Tensor, channel: int) -> Tensor:
    """One output channel."""
    found: Tensor = layer(inputs)
    return found[:, channel]


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.ConvTranspose2d(6, 4, 3, bias=False), (6, 5, 5)),
        (nn.ConvTranspose2d(6, 4, 3, groups=2, bias=False), (6, 5, 5)),
        (nn.ConvTranspose1d(4, 4, 2, groups=4, bias=False), (4, 5)),
        (nn.Conv2d(6, 4, 3, groups=2, bias=False), (6, 5, 5)),
        (nn.Linear(6, 4, bias=False), (6,)),
    ],
)
def test_a_filter_is_all_that_one_output_channel_depends_on(layer: nn.Module, size: tuple[int, ...]) -> None:
    """Which weights are the filter of a channel, autograd says; each filter gets its own norm."""
    layer = layer.double()
    ((each,), (weight,)) = Subspace.of(layer).tensors, layer.parameters()
    found = rescale(torch.randn(weight.shape, dtype=torch.float64), weight.detach(), "filter", each.transposed)
    draw = torch.randn(1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    filters = []
    for channel in range(4):
        (reached,) = torch.autograd.grad(outputs_alone(layer, draw, channel).sum(), weight)
        filters.append(reached != 0)
        torch.testing.assert_close(found[filters[-1]].norm(), weight[filters[-1]].norm())
    assert torch.stack(filters).sum(dim=0).eq(1).all()  # every weight is in one filter


def test_layer_normalisation() -> None:
    direction, weights = torch.randn(5, 3, 2, 2, dtype=torch.float64), torch.randn(5, 3, 2, 2, dtype=torch.float64)
    found = rescale(direction, weights, "layer")
    torch.testing.assert_close(found, direction * (weights.norm() / direction.norm()))


def test_weight_normalisation() -> None:
    direction, weights = torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([[-2.0, 3.0], [0.0, 4.0]])
    assert torch.equal(rescale(direction, weights, "weight"), torch.tensor([[-2.0, -6.0], [0.0, 2.0]]))


def test_none_leaves_the_draw() -> None:
    direction = torch.randn(4, 3)
    assert torch.equal(rescale(direction, torch.randn(4, 3), "none"), direction)
