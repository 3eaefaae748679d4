"""Planes whose minima are known."""

import numpy as np
import pytest

from benchmarks.planes import local_minima, shared_grid


@pytest.mark.parametrize(("waves", "minima"), [(1, 1), (3, 9), (5, 25)])
def test_local_minima_of_an_egg_box(waves: int, minima: int) -> None:
    """cos(2 pi k x) + cos(2 pi k y) has k * k of them in the unit square."""
    x = np.linspace(0, 1, 101)
    heights = np.add.outer(np.cos(2 * np.pi * waves * x), np.cos(2 * np.pi * waves * x))
    assert local_minima(heights) == minima
    assert local_minima(heights, 1e-9) == minima
    assert local_minima(heights, np.full_like(heights, 4.0)) == 0


def test_holes_of_a_surface_are_no_minima() -> None:
    heights = np.full((5, 5), 2.0)
    heights[1, 1], heights[3, 3] = np.nan, 1.0
    assert local_minima(heights) == 1
    heights[4, 4] = np.inf
    assert local_minima(heights) == 1
    heights[2, 2] = np.nan
    assert local_minima(heights) == 0
    assert local_minima(np.full((4, 4), np.nan)) == 0


def test_planes_are_compared_where_all_of_them_have_points() -> None:
    whole, half = np.zeros((7, 7)), np.full((7, 7), np.nan)
    half[1::2, 1::2], half[0] = 0.0, 0.0
    assert shared_grid([whole, whole]) == slice(0, None, 1)
    assert shared_grid([whole, half]) == slice(1, None, 2)
    assert shared_grid([whole, np.zeros((3, 3))]) == slice(0, None, 1)
