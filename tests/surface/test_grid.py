"""Axes, status, the order of the points, the order of dimensions, and grids that take over what an earlier one knew."""

from itertools import product

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from lossviz.errors import RequestError
from lossviz.results import DONE, NOT_FINITE, TO_DO
from lossviz.surface.grid import Grid, Range, axis_values, coarse_to_fine, through_zero


@pytest.mark.parametrize("count", [3, 5, 21, 51, 101, 401])
def test_zero_is_exact_in_the_middle(count: int) -> None:
    """Only so is the centre of a surface the checkpoint itself, bit for bit."""
    for reach in (1.0, 0.3, 0.7, 1e-3):
        axis = axis_values((-reach, reach, count))
        assert axis[count // 2] == 0
        assert (axis[0], axis[-1]) == (-reach, reach)


@pytest.mark.parametrize("axis", [(0.0, 1.0, 7), (-0.5, 1.5, 401), (2.0, 3.0, 2), (-3.0, -1.0, 5)])
def test_evenly_spaced(axis: Range) -> None:
    """Also from 0 on: an axis that begins there is one like any other."""
    np.testing.assert_allclose(axis_values(axis), np.linspace(*axis), rtol=1e-14, atol=1e-15)


@given(st.floats(1e-3, 10), st.floats(1e-3, 10), st.integers(3, 25))
def test_through_zero(below: float, above: float, count: int) -> None:
    """0 is a point, both ends are within, and no other grid of so many points does it with less."""
    low, high, same = found = through_zero(-below, above, count)
    assert same == count
    assert low <= -below * (1 - 1e-12)
    assert high >= above * (1 - 1e-12)
    assert 0 in axis_values(found)
    # With 0 as point k, the step must reach both ends.
    least = min(max(below / k, above / (count - 1 - k)) for k in range(1, count - 1))
    assert (high - low) / (count - 1) == pytest.approx(least, rel=1e-12)


@given(st.floats(1e-3, 10), st.floats(1e-3, 10), st.integers(3, 25))
def test_through_zero_again_is_the_same_grid(below: float, above: float, count: int) -> None:
    """A scan with automatic bounds that goes on takes them from its file: the grid, or one twice as fine, must fit."""
    low, high, _ = found = through_zero(-below, above, count)
    scan = Grid.empty(found, None)
    scan.put((count // 2,), losses(1.0))
    for finer in (count, 2 * count - 1):
        Grid.empty(through_zero(low, high, finer), None).take_over(scan, "file")


@pytest.mark.parametrize("axis", [(0.5, 2.0, 5), (0.0, 1.0, 4), (-2.0, 0.0, 4), (-1.0, 1.0, 2)])
def test_a_range_without_zero_inside_stays(axis: Range) -> None:
    assert through_zero(*axis) == axis


def losses(loss: float) -> dict[str, float]:
    return {"loss": loss, "loss_stderr": abs(loss) / 10, "error": 50.0, "seconds": 0.5}


def at(where: dict[str, float]) -> dict[str, float]:
    """A loss that tells x from y, and where it was computed."""
    return losses(10 * where["y"] + where["x"])


def scanned(x: Range, y: Range, points: int | None = None) -> Grid:
    """A plane of which some points are known."""
    grid = Grid.empty(x, y)
    for index in grid.todo()[:points]:
        grid.put(index, at(grid.where(index)))
    return grid


def test_rows_are_y_and_columns_are_x() -> None:
    found = scanned((0, 1, 2), (0, 1, 3)).dataset({"title": "t"})
    assert found.status.shape == (3, 2)
    assert float(found.loss.sel(x=1, y=0.5)) == 6
    assert found.loss.dims == ("y", "x")
    assert found.attrs == {"title": "t"}


def test_every_value_is_a_result() -> None:
    """Zero, negative, NaN and infinity are done; only what was not visited is to do."""
    grid = Grid.empty((0, 1, 6), None)
    for i, loss in enumerate((0.0, -1.0, np.nan, np.inf, -np.inf)):
        grid.put((i,), losses(loss))
    assert grid.status.tolist() == [DONE, DONE, NOT_FINITE, NOT_FINITE, NOT_FINITE, TO_DO]
    assert (grid.todo(), grid.done) == ([(5,)], 5)
    again = Grid.empty((0, 1, 6), None)
    again.take_over(grid, "file")
    for name in grid.values:
        np.testing.assert_array_equal(again.values[name], grid.values[name])
    assert again.todo() == [(5,)]


def test_a_saved_grid_is_the_same_grid_and_another_array() -> None:
    grid = scanned((-1, 1, 5), (0, 3, 4), 7)
    saved = grid.dataset({})
    again = Grid.of(saved)
    xr.testing.assert_identical(again.dataset({}), saved)
    assert list(again.axes) == ["y", "x"]
    assert (again.todo(), again.where((1, 4))) == (grid.todo(), {"y": 1.0, "x": 1.0})
    before = saved.copy(deep=True)
    again.put(again.todo()[0], losses(1.0))
    xr.testing.assert_identical(saved, before)


X: Range = (-1, 1, 5)
Y: Range = (-0.6, 0.6, 3)
LARGER = [
    ((-1, 1, 5), (-0.6, 0.6, 3)),  # the same
    ((-1, 1, 9), (-0.6, 0.6, 5)),  # refined
    ((-1, 1, 13), (-0.6, 0.6, 3)),  # a third of the step, one axis
    ((-2, 2, 9), (-0.6, 1.2, 4)),  # extended, to one side too
    ((-1.5, 2, 15), (-1.2, 0.6, 7)),  # both
]


@pytest.mark.parametrize(("x", "y"), LARGER)
@pytest.mark.parametrize("points", [None, 9])
def test_values_land_at_their_axis_values(x: Range, y: Range, points: int | None) -> None:
    """Refined or extended, rectangular, complete or not: nothing is lost, moved or computed twice."""
    old, new = scanned(X, Y, points), Grid.empty(x, y)
    new.take_over(old, "file")
    assert new.done == old.done
    assert len(new.todo()) == new.status.size - old.done
    for index in np.argwhere(new.status == DONE):
        place = tuple(index.tolist())
        assert new.values["loss"][place] == pytest.approx(at(new.where(place))["loss"], abs=1e-12)
    assert np.isnan(new.values["loss"][new.status == TO_DO]).all()
    assert _places(new) == _places(old)


def _places(grid: Grid) -> list[tuple[float, float]]:
    """Coordinates of what is known, but for rounding."""
    known = np.argwhere(grid.status != TO_DO)
    return [(round(float(grid.axes["y"][i]), 9), round(float(grid.axes["x"][j]), 9)) for i, j in known]


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        ((-1, 1, 7), Y, "x = -0.5"),  # between the old points
        ((-1, 1, 3), Y, "x = -0.5"),  # coarser
        ((-0.5, 1, 4), Y, "x = -1"),  # smaller
        (X, (-0.6, 0.6, 4), "y = 0"),
        (X, (0.6, 1.2, 3), "y = -0.6"),
    ],
)
def test_a_grid_that_would_lose_points_is_refused_by_name(x: Range, y: Range, named: str) -> None:
    new = Grid.empty(x, y)
    with pytest.raises(RequestError) as refusal:
        new.take_over(scanned(X, Y), "surface-main.nc")
    assert f"surface-main.nc: holds points at {named}," in str(refusal.value)
    assert "--fresh" in str(refusal.value)
    assert new.done == 0


def test_what_was_not_computed_may_go() -> None:
    """Only the lattice of the beginning is known: a coarser grid holds all of it."""
    old = scanned((-1, 1, 9), (-1, 1, 9), 9)
    new = Grid.empty((-1, 1, 3), (-1, 1, 3))
    new.take_over(old, "file")
    assert new.todo() == []


def test_a_line() -> None:
    old, new = Grid.empty((0, 1, 3), None), Grid.empty((0, 2, 9), None)
    for index in old.todo():
        old.put(index, losses(old.where(index)["x"]))
    new.take_over(old, "file")
    np.testing.assert_array_equal(new.values["loss"], [0, np.nan, 0.5, np.nan, 1, *[np.nan] * 4])
    with pytest.raises(RequestError, match=r"holds points at x = 0\.5"):
        Grid.empty((0, 1, 4), None).take_over(old, "file")


SHAPES = [(51, 51), (101, 101), (51, 25), (7, 101), (101,), (401,), (20, 33)]


def landmarks(count: int) -> set[int]:
    """Both ends and the middle of an axis; of an even number of points, either middle."""
    return {0, (count - 1) // 2, count - 1}


@given(st.lists(st.integers(2, 40), min_size=1, max_size=2))
def test_every_point_once(shape: list[int]) -> None:
    order = coarse_to_fine(shape)
    assert sorted(order) == list(product(*(range(count) for count in shape)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_whole_range_is_in_the_first_sixteenth(shape: tuple[int, ...]) -> None:
    """Ends and middle of each axis with ends and middle of the other, and the same number of points all over."""
    order = coarse_to_fine(shape)
    first = set(order[: len(order) // 16])
    assert set(product(*(landmarks(count) for count in shape))) <= first


@pytest.mark.parametrize("shape", [(2,), (3,), (2, 2), (3, 3), (2, 3), (3, 2), (2, 51), (51, 3)])
def test_tiny_axes_are_whole_from_the_beginning(shape: tuple[int, ...]) -> None:
    """An axis of two or three points has no coarser lattice: all of it is seen with ends and middle of the other."""
    order = coarse_to_fine(shape)
    coarsest = list(product(*(sorted(landmarks(count)) for count in shape)))
    assert set(coarsest) <= set(order[: max(len(coarsest), len(order) // 4)])


@given(st.lists(st.integers(2, 60), min_size=1, max_size=2))
def test_lattices_are_nested_and_even(shape: list[int]) -> None:
    """However far the scan is, some stride 2^k is complete and nothing finer than 2^(k-1) was begun."""
    order = coarse_to_fine(shape)
    strides = [2**k for k in range(6, -1, -1)]

    def lattice(stride: int) -> set[tuple[int, ...]]:
        axes = []
        for count in shape:
            own = min(stride, 2 ** (max((count - 1) // 2, 1).bit_length() - 1))
            middle = (count - 1) // 2
            axes.append(sorted({0, count - 1, *range(middle % own, count, own)}))
        return set(product(*axes))

    sizes = [len(lattice(stride)) for stride in strides]
    for stride, size in zip(strides, sizes, strict=True):
        assert set(order[:size]) == lattice(stride)
    assert sizes[-1] == len(order)


def test_the_lattice_of_stride_8_on_51_x_51() -> None:
    """What the documentation promises: 9 x 9 points after 3 % of the work."""
    order = coarse_to_fine((51, 51))
    rows = [0, 1, 9, 17, 25, 33, 41, 49, 50]
    assert set(order[:81]) == set(product(rows, rows))
    assert 81 / len(order) < 0.032


def test_rows_are_gone_through_one_after_another() -> None:
    """Within a lattice; for a user who watches the picture grow."""
    order = coarse_to_fine((9, 9))
    assert order[:9] == list(product((0, 4, 8), (0, 4, 8)))
