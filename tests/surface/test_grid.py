"""Coordinates, status and the order of dimensions."""

import numpy as np
import pytest

from lossviz.surface.grid import DONE, NOT_FINITE, TO_DO, Grid, coordinates


@pytest.mark.parametrize("count", [3, 5, 21, 51, 101, 401])
def test_zero_is_exact_in_the_middle(count: int) -> None:
    """Only so is the centre of a surface the checkpoint itself, bit for bit."""
    for reach in (1.0, 0.3, 0.7, 1e-3):
        axis = coordinates((-reach, reach, count))
        assert axis[count // 2] == 0
        assert (axis[0], axis[-1]) == (-reach, reach)


@pytest.mark.parametrize("axis", [(0.0, 1.0, 7), (-0.5, 1.5, 401), (2.0, 3.0, 2)])
def test_evenly_spaced(axis: tuple[float, float, int]) -> None:
    np.testing.assert_allclose(coordinates(axis), np.linspace(*axis), rtol=1e-14, atol=1e-15)


def test_rows_are_y_and_columns_are_x() -> None:
    grid = Grid.empty((0, 1, 2), (0, 1, 3))
    assert grid.status.shape == (3, 2)
    for index, where in grid.todo():
        grid.put(index, loss=10 * where["y"] + where["x"], loss_stderr=0, error=0, seconds=0)
    found = grid.dataset({}).loss
    assert float(found.sel(x=1, y=0.5)) == 6
    assert found.dims == ("y", "x")


def test_every_value_is_a_result() -> None:
    """Zero, negative, NaN and infinity are done; only what was not visited is to do."""
    grid = Grid.empty((0, 1, 6), None)
    for i, loss in enumerate((0.0, -1.0, np.nan, np.inf, -np.inf)):
        grid.put((i,), loss, 0, 0, 0)
    assert grid.status.tolist() == [DONE, DONE, NOT_FINITE, NOT_FINITE, NOT_FINITE, TO_DO]
    assert [index for index, _ in grid.todo()] == [(5,)]
    again = Grid.empty((0, 1, 6), None)
    again.restore(grid.dataset({}))
    np.testing.assert_array_equal(again.values["loss"], grid.values["loss"])
    assert [index for index, _ in again.todo()] == [(5,)]
