"""Places in a plane against a dense least-squares problem."""

import numpy as np
import pytest
import torch

from lossviz.surface.moving import moving, parameters_of
from lossviz.surface.projection import project
from tests.surface.networks import flat, network


def drawn(seed: int, axes: str) -> dict[str, list[torch.Tensor]]:
    draws = torch.Generator().manual_seed(seed)
    coordinates = moving(network(), statistics=True)
    return {
        axis: [torch.randn(each.tensor.shape, generator=draws, dtype=torch.float64) for each in coordinates]
        for axis in axes
    }


@pytest.mark.parametrize("axes", ["x", "xy"])
@pytest.mark.parametrize("longer", [1.0, 1e7])
def test_least_squares(axes: str, longer: float) -> None:
    """Skewed directions of very different lengths; running statistics count neither in place nor distance."""
    model, other = network(0), network(1)
    coordinates, directions = moving(model, statistics=True), drawn(2, axes)
    directions["x"] = [part * longer for part in directions["x"]]
    theta, state = [each.tensor for each in coordinates], other.state_dict()
    place, distance = project(coordinates, theta, directions, state)
    columns = np.stack([flat(parameters_of(coordinates, each)) for each in directions.values()], axis=1)
    apart = flat(list(other.parameters())) - flat(list(model.parameters()))
    expected, *_ = np.linalg.lstsq(columns / [longer, 1][: len(axes)], apart)
    np.testing.assert_allclose(list(place.values()), expected / [longer, 1][: len(axes)], rtol=1e-9)
    np.testing.assert_allclose(distance, np.linalg.norm(apart - columns @ list(place.values())), rtol=1e-9)
    assert list(place) == list(axes)


def test_a_network_in_the_plane() -> None:
    """Its own place comes back, and a distance that is rounding: not a difference of large squares."""
    model = network()
    coordinates, directions = moving(model, statistics=False), drawn(3, "xy")
    directions = {axis: parameters_of(moving(model, True), vector) for axis, vector in directions.items()}
    theta = [each.tensor.detach() for each in coordinates]
    state = {
        each.name: here + 0.25 * x - 3 * y
        for each, here, x, y in zip(coordinates, theta, directions["x"], directions["y"], strict=True)
    }
    place, distance = project(coordinates, theta, directions, state)
    np.testing.assert_allclose([place["x"], place["y"]], [0.25, -3], rtol=1e-12)
    assert distance < 1e-13


def test_zero_and_parallel_directions() -> None:
    """No division by zero: the smallest of all solutions."""
    model = network()
    coordinates, directions = moving(model, statistics=True), drawn(4, "x")
    theta, state = [each.tensor for each in coordinates], network(1).state_dict()
    line, distance = project(coordinates, theta, directions, state)
    zero = {**directions, "y": [torch.zeros_like(part) for part in directions["x"]]}
    place, same = project(coordinates, theta, zero, state)
    np.testing.assert_allclose([place["x"], place["y"], same], [line["x"], 0, distance], rtol=1e-12)
    twice = {**directions, "y": [2 * part for part in directions["x"]]}
    place, same = project(coordinates, theta, twice, state)
    np.testing.assert_allclose([place["x"] + 2 * place["y"], same], [line["x"], distance], rtol=1e-12)


def test_float32_networks_are_seen_in_float64() -> None:
    """A step of 1e-9 of the weights' size: float32 sums of squares would not see it."""
    model = network(dtype=torch.float32)
    coordinates = moving(model, statistics=False)
    theta = [each.tensor.detach().clone() for each in coordinates]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["4.bias"][0] = torch.nextafter(state["4.bias"][0], torch.tensor(9.0))
    step = float(state["4.bias"][0].double() - theta[-1][0].double())
    directions = {"x": [torch.ones_like(part) for part in theta]}
    place, distance = project(coordinates, theta, directions, state)
    size = sum(part.numel() for part in theta)
    np.testing.assert_allclose(place["x"], step / size, rtol=1e-12)
    np.testing.assert_allclose(distance, step * np.sqrt(1 - 1 / size), rtol=1e-9)
