"""Scans of networks whose loss is known by formula."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lossviz.config.surface import Axis
from lossviz.surface.grid import Grid
from lossviz.surface.scan import scan
from tests.closed_forms import Quadratic, TwoLayers

X: Axis = (0.0, 1.5, 4)
Y: Axis = (-1.0, 0.5, 3)


def batches_of(inputs: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))


@pytest.mark.parametrize("size", [1, 4, 11])
def test_rectangular_quadratic(size: int) -> None:
    """Loss and standard error of the mean at every point, whatever the batches."""
    quadratic = Quadratic()
    draws = np.random.default_rng(2)
    d1, d2 = draws.normal(size=(2, 6))
    directions = {"x": [torch.from_numpy(d1)], "y": [torch.from_numpy(d2)]}
    grid, data = Grid.empty(X, Y), batches_of(quadratic.inputs, quadratic.targets, size)
    for _ in scan(quadratic.objective, directions, grid, lambda: data):
        pass
    for i, y in enumerate(np.linspace(*Y)):
        for j, x in enumerate(np.linspace(*X)):
            losses = quadratic.losses(quadratic.theta + x * d1 + y * d2)
            np.testing.assert_allclose(grid.values["loss"][i, j], losses.mean(), rtol=1e-10)
            stderr = losses.std(ddof=1) / np.sqrt(len(losses))
            np.testing.assert_allclose(grid.values["loss_stderr"][i, j], stderr, rtol=1e-10)
    assert grid.done == 12


def test_line_through_two_layers() -> None:
    layers = TwoLayers()
    draws = np.random.default_rng(3)
    direction = [draws.normal(size=weight.shape) for weight in layers.weights]
    grid = Grid.empty((0.0, 2.0, 5), None)
    data = [(layers.batch.inputs, layers.batch.targets)]
    for _ in scan(layers.objective, {"x": [torch.from_numpy(part) for part in direction]}, grid, lambda: data):
        pass
    expected = [
        layers.loss(*(weight + x * part for weight, part in zip(layers.weights, direction, strict=True)))
        for x in np.linspace(0, 2, 5)
    ]
    np.testing.assert_allclose(grid.values["loss"], expected, rtol=1e-10)
    assert np.isnan(grid.values["error"]).all()  # regression has no wrong answers to count


def test_stopping_in_the_middle_leaves_the_network_and_the_rest() -> None:
    """What is missing is found later, at the same numbers, and no point is visited twice."""
    quadratic = Quadratic()
    directions = {"x": [torch.ones(6, dtype=torch.float64)], "y": [torch.linspace(0, 1, 6, dtype=torch.float64)]}
    data = [(quadratic.inputs, quadratic.targets)]
    whole, parts = Grid.empty(X, Y), Grid.empty(X, Y)
    visits = list(scan(quadratic.objective, directions, whole, lambda: data))
    seen = []
    while parts.done < 12:
        run = scan(quadratic.objective, directions, parts, lambda: data)
        for index in run:
            seen.append(index)
            if len(seen) % 5 == 0:
                run.close()
        assert torch.equal(quadratic.objective.parameters[0].detach(), torch.from_numpy(quadratic.theta))
    assert sorted(seen) == sorted(visits)
    np.testing.assert_array_equal(parts.values["loss"], whole.values["loss"])
