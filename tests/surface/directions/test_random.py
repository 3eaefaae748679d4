"""Random directions: as long as the weights, a pure function of the seed, independent on two axes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.config.directions import Normalize
from lossviz.config.model import Resnet, Vgg
from lossviz.engine import streamed
from lossviz.models.build import build
from lossviz.surface.directions.random import Drawn, random_direction
from lossviz.surface.subspace import Subspace
from tests.surface.networks import flat, network


def drawn(model: nn.Module, normalize: Normalize = "filter", seed: int = 123, axis: str = "x") -> dict[str, Tensor]:
    """Directions of all parameters, by name."""
    subspace = Subspace.of(model)
    return subspace.to_tensors({axis: random_direction(subspace, normalize, seed, axis)})


def test_what_is_not_moved_stays_and_so_do_statistics() -> None:
    subspace = Subspace.of(network(), statistics=True).only({"0.weight", "4.bias", "1.running_mean"})
    found = random_direction(subspace, "filter", 1, "x")
    moved = [each.name for each, part in zip(subspace.tensors, found, strict=True) if part.any()]
    assert moved == ["0.weight", "4.bias"]
    assert [part.shape for part in found] == [each.shape for each in subspace.theta]


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


@pytest.mark.parametrize("normalize", ["filter", "layer", "none"])
def test_what_is_drawn_again_is_bitwise_what_is_kept(normalize: Normalize, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the network is, in pieces too; the digest tells directions apart."""
    model = network(dtype=torch.float32, width=48)
    model.append(nn.Unflatten(1, (3, 1, 1))).append(nn.ConvTranspose2d(3, 32, 3)).bfloat16()
    subspace = Subspace.of(model).only({name for name, _ in model.named_parameters()} - {"4.bias"})
    kept = random_direction(subspace, normalize, 7, "x")
    monkeypatch.setattr(streamed, "PIECE", 300)
    in_pieces, again, other = (Drawn(subspace, normalize, seed, "x") for seed in (7, 7, 8))
    digests = [each.fix() for each in (in_pieces, again, other)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for part, expected in zip(in_pieces, kept, strict=True):
        assert torch.equal(part, expected)
        assert part.dtype == torch.bfloat16
    assert digests[0] == digests[1] != digests[2]
