"""Directions against a reference written from the formula in Li et al. 2018."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.config.model import Resnet, Vgg
from lossviz.config.surface import Directions
from lossviz.models.build import build
from lossviz.surface.directions import named, normalise, random_direction, trainable


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
    found = normalise(torch.from_numpy(direction), torch.from_numpy(weights), "filter").numpy()
    np.testing.assert_allclose(found, reference(direction, weights), rtol=1e-10, atol=0)
    assert not found[0].any()  # a filter of zeros stays one


def test_filter_normalisation_of_a_vector_is_not_a_copy_of_the_weights() -> None:
    """Elementwise, every 'filter' of a bias would be +-w_i: both axes of the plane would be the same."""
    weights = torch.linspace(1, 2, 8, dtype=torch.float64)
    first, second = (torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    a, b = normalise(first, weights, "filter"), normalise(second, weights, "filter")
    assert not torch.allclose(a.abs(), b.abs())
    torch.testing.assert_close(a.norm(), weights.norm())


def test_layer_normalisation() -> None:
    direction, weights = torch.randn(5, 3, 2, 2, dtype=torch.float64), torch.randn(5, 3, 2, 2, dtype=torch.float64)
    found = normalise(direction, weights, "layer")
    torch.testing.assert_close(found, direction * (weights.norm() / direction.norm()))


def test_none_leaves_the_draw() -> None:
    direction = torch.randn(4, 3)
    assert torch.equal(normalise(direction, torch.randn(4, 3), "none"), direction)


def parts(model: nn.Module, config: Directions, axis: str = "x") -> dict[str, Tensor]:
    return named(model, **{axis: random_direction(model, config, axis)})


@pytest.mark.parametrize("ignore", [(), ("bias",), ("norm",), ("bias", "norm")])
def test_ignored_kinds_stay(ignore: tuple[str, ...]) -> None:
    """Bias of a linear layer is a bias; weight and bias of BatchNorm are norm."""
    model = build(Resnet(name="resnet", depth=8), 3, 10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)  # fresh biases are zero, and so would be their directions
    for name, part in parts(model, Directions(ignore=ignore)).items():  # type: ignore[arg-type]
        in_norm = ".bn" in name or "/bn" in name or "shortcut.1" in name
        expected = ("norm" if in_norm else "bias" if name.endswith("bias") else "weight") in ignore
        assert (part.count_nonzero() == 0) == expected, name


def test_every_filter_of_a_network_has_its_norm() -> None:
    model = build(Vgg(name="vgg", depth=11, width=0.125), 1, 10)
    for (name, part), (_, weight, _) in zip(parts(model, Directions()).items(), trainable(model), strict=True):
        if weight.dim() > 1:
            torch.testing.assert_close(part.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1), msg=name)


def test_a_pure_function_of_seed_axis_and_name() -> None:
    """Not of the global generator, nor of which other layers there are."""
    small, large = (build(Resnet(name="resnet", depth=depth), 3, 10) for depth in (8, 14))
    config = Directions(normalize="none")
    torch.manual_seed(1)
    first = parts(small, config)
    torch.manual_seed(2)
    again, deeper = parts(small, config), parts(large, config)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(first["x/layer1.0.conv1.weight"], deeper["x/layer1.0.conv1.weight"])
    other_seed = parts(small, Directions(normalize="none", seed=124))
    assert not torch.equal(first["x/conv1.weight"], other_seed["x/conv1.weight"])
    assert not torch.equal(first["x/conv1.weight"], parts(small, config, "y")["y/conv1.weight"])


def test_trainable_follows_the_network() -> None:
    """Same tensors in the same order as model.parameters(): moving relies on it. Frozen ones are left out."""
    model = build(Resnet(name="resnet", depth=8), 3, 10)
    model.get_parameter("conv1.weight").requires_grad_(False)
    ours = list(trainable(model))
    theirs = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert [name for name, _, _ in ours] == [name for name, _ in theirs]
    assert all(a is b for (_, a, _), (_, b) in zip(ours, theirs, strict=True))
