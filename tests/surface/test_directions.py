"""Directions against a reference written from the formula in Li et al. 2018."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.config.directions import Normalize
from lossviz.config.model import Resnet, Vgg
from lossviz.models.build import build
from lossviz.surface.directions import named, normalise, random_direction, unnamed
from lossviz.surface.moving import moving
from tests.surface.networks import flat, network


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
    (weight,) = layer.parameters()
    (found,) = drawn(layer).values()
    draw = torch.randn(1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    filters = []
    for channel in range(4):
        (reached,) = torch.autograd.grad(outputs_alone(layer, draw, channel).sum(), weight)
        filters.append(reached != 0)
        torch.testing.assert_close(found[filters[-1]].norm(), weight[filters[-1]].norm())
    assert torch.stack(filters).sum(dim=0).eq(1).all()  # every weight is in one filter


def test_layer_normalisation() -> None:
    direction, weights = torch.randn(5, 3, 2, 2, dtype=torch.float64), torch.randn(5, 3, 2, 2, dtype=torch.float64)
    found = normalise(direction, weights, "layer")
    torch.testing.assert_close(found, direction * (weights.norm() / direction.norm()))


def test_weight_normalisation() -> None:
    direction, weights = torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([[-2.0, 3.0], [0.0, 4.0]])
    assert torch.equal(normalise(direction, weights, "weight"), torch.tensor([[-2.0, -6.0], [0.0, 2.0]]))


def test_none_leaves_the_draw() -> None:
    direction = torch.randn(4, 3)
    assert torch.equal(normalise(direction, torch.randn(4, 3), "none"), direction)


def drawn(model: nn.Module, normalize: Normalize = "filter", seed: int = 123, axis: str = "x") -> dict[str, Tensor]:
    """Directions of all parameters, by name."""
    coordinates = moving(model, statistics=False)
    moved = {each.name for each in coordinates}
    return named(coordinates, {axis: random_direction(coordinates, moved, normalize, seed, axis)})


def test_what_is_not_moved_stays_and_so_do_statistics() -> None:
    coordinates = moving(network(), statistics=True)
    moved = {"0.weight", "4.bias", "1.running_mean"}
    found = random_direction(coordinates, moved, "filter", 1, "x")
    assert [each.name for each, part in zip(coordinates, found, strict=True) if part.any()] == ["0.weight", "4.bias"]
    assert [part.shape for part in found] == [each.tensor.shape for each in coordinates]


def test_every_filter_of_a_network_has_its_norm() -> None:
    model = build(Vgg(name="vgg", depth=11, width=0.125), 1, 10)
    found = drawn(model)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            torch.testing.assert_close(found[f"x/{name}"].flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))


def test_vectors_of_two_axes_are_not_copies_of_the_weights() -> None:
    """Whole directions over biases and normalisations too: no tensor is the same on both axes, up to sign."""
    model = network()
    first, second = drawn(model, axis="x"), drawn(model, axis="y")
    for name, weight in model.named_parameters():
        a, b = first[f"x/{name}"], second[f"y/{name}"]
        assert not torch.allclose(a.abs(), b.abs()), name
        assert not torch.allclose(a.abs(), weight.detach().abs()), name
        torch.testing.assert_close(a.norm(), weight.detach().norm())


def test_axes_are_drawn_apart_and_left_as_they_are() -> None:
    """Orthogonalised first and normalised then, they would be neither orthogonal nor what was drawn.

    Every filter of y is a multiple of its own draw, whatever x is.
    """
    model = network()
    raw, scaled = drawn(model, "none", axis="y"), drawn(model, "filter", axis="y")
    for name in ("0.weight", "4.weight"):
        cosine = torch.nn.functional.cosine_similarity(raw[f"y/{name}"].flatten(1), scaled[f"y/{name}"].flatten(1))
        torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=1e-12, atol=0)
    wide = nn.Linear(400, 300).double()  # independent draws of n numbers: cosine ~ N(0, 1 / n)
    x, y = (flat(list(drawn(wide, axis=axis).values())) for axis in "xy")
    assert 0 < abs(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) < 4 / np.sqrt(len(x))


def test_a_pure_function_of_seed_axis_and_name() -> None:
    """Not of the global generator, nor of which other layers there are."""
    small, large = (build(Resnet(name="resnet", depth=depth), 3, 10) for depth in (8, 14))
    torch.manual_seed(1)
    first = drawn(small, "none")
    torch.manual_seed(2)
    again, deeper = drawn(small, "none"), drawn(large, "none")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(first["x/layer1.0.conv1.weight"], deeper["x/layer1.0.conv1.weight"])
    assert not torch.equal(first["x/layer1.0.conv1.weight"], first["x/layer1.0.conv2.weight"])
    assert not torch.equal(first["x/conv1.weight"], drawn(small, "none", seed=124)["x/conv1.weight"])
    assert not torch.equal(first["x/conv1.weight"], drawn(small, "none", axis="y")["y/conv1.weight"])


def test_names_on_disk_and_back() -> None:
    """Whatever order a file has, directions come back in the network's."""
    coordinates = moving(network(dtype=torch.float32), statistics=True)
    directions = {axis: [torch.randn_like(each.tensor) for each in coordinates] for axis in "xy"}
    tensors = named(coordinates, directions)
    assert list(tensors)[:2] == ["x/0.weight", "x/0.bias"]
    shuffled = {name: tensors[name].double() for name in sorted(tensors, reverse=True)}
    for axis, vector in directions.items():
        back = unnamed(coordinates, shuffled, axis)
        assert all(torch.equal(one, other) for one, other in zip(vector, back, strict=True))
        assert all(one.stride() == each.tensor.stride() for one, each in zip(back, coordinates, strict=True))
