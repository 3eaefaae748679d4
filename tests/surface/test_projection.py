"""Places in a plane against a dense least-squares problem."""

import numpy as np
import pytest
import torch

from lossviz.surface.projection import project
from lossviz.surface.subspace import Subspace
from tests.surface.networks import flat, network


def drawn(seed: int, axes: str) -> dict[str, list[torch.Tensor]]:
    draws = torch.Generator().manual_seed(seed)
    subspace = Subspace.of(network(), statistics=True)
    return {
        axis: [torch.randn(each.tensor.shape, generator=draws, dtype=torch.float64) for each in subspace.tensors]
        for axis in axes
    }


@pytest.mark.parametrize("axes", ["x", "xy"])
@pytest.mark.parametrize("longer", [1.0, 1e7])
def test_least_squares(axes: str, longer: float) -> None:
    """Skewed directions of very different lengths; running statistics count neither in position nor distance."""
    model, other = network(0), network(1)
    subspace, directions = Subspace.of(model, statistics=True), drawn(2, axes)
    directions["x"] = [part * longer for part in directions["x"]]
    theta, state = subspace.theta, other.state_dict()
    position, distance = project(subspace, theta, directions, state)
    columns = np.stack([flat(subspace.parameters(each)) for each in directions.values()], axis=1)
    apart = flat(list(other.parameters())) - flat(list(model.parameters()))
    expected, *_ = np.linalg.lstsq(columns / [longer, 1][: len(axes)], apart)
    np.testing.assert_allclose(list(position.values()), expected / [longer, 1][: len(axes)], rtol=1e-9)
    np.testing.assert_allclose(distance, np.linalg.norm(apart - columns @ list(position.values())), rtol=1e-9)
    assert list(position) == list(axes)


def test_a_network_in_the_plane() -> None:
    """Its own position comes back, and a distance that is rounding: not a difference of large squares."""
    model = network()
    subspace, directions = Subspace.of(model, statistics=False), drawn(3, "xy")
    whole = Subspace.of(model, statistics=True)
    directions = {axis: list(whole.parameters(vector)) for axis, vector in directions.items()}
    theta = [each.detach() for each in subspace.theta]
    state = {
        each.name: here + 0.25 * x - 3 * y
        for each, here, x, y in zip(subspace.tensors, theta, directions["x"], directions["y"], strict=True)
    }
    position, distance = project(subspace, theta, directions, state)
    np.testing.assert_allclose([position["x"], position["y"]], [0.25, -3], rtol=1e-12)
    assert distance < 1e-13


def test_zero_and_parallel_directions() -> None:
    """No division by zero: the smallest of all solutions."""
    model = network()
    subspace, directions = Subspace.of(model, statistics=True), drawn(4, "x")
    theta, state = subspace.theta, network(1).state_dict()
    line, distance = project(subspace, theta, directions, state)
    zero = {**directions, "y": [torch.zeros_like(part) for part in directions["x"]]}
    position, same = project(subspace, theta, zero, state)
    np.testing.assert_allclose([position["x"], position["y"], same], [line["x"], 0, distance], rtol=1e-12)
    twice = {**directions, "y": [2 * part for part in directions["x"]]}
    position, same = project(subspace, theta, twice, state)
    np.testing.assert_allclose([position["x"] + 2 * position["y"], same], [line["x"], distance], rtol=1e-12)


def test_float32_networks_are_seen_in_float64() -> None:
    """A step of 1e-9 of the weights' size: float32 sums of squares would not see it."""
    model = network(dtype=torch.float32)
    subspace = Subspace.of(model)
    theta = [each.detach().clone() for each in subspace.theta]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["4.bias"][0] = torch.nextafter(state["4.bias"][0], torch.tensor(9.0))
    step = float(state["4.bias"][0].double() - theta[-1][0].double())
    directions = {"x": [torch.ones_like(part) for part in theta]}
    position, distance = project(subspace, theta, directions, state)
    size = sum(part.numel() for part in theta)
    np.testing.assert_allclose(position["x"], step / size, rtol=1e-12)
    np.testing.assert_allclose(distance, step * np.sqrt(1 - 1 / size), rtol=1e-9)
