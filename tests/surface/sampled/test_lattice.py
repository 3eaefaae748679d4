import numpy as np
import pytest

from lossviz.surface.sampled.lattice import Lattice, coarse_places, interpolate
from tests.surface.sampled.test_sampling import wrong


def test_the_coarse_points_of_an_axis() -> None:
    assert coarse_places(51) == [0, *range(1, 50, 4), 50]
    assert [len(coarse_places(count)) for count in (2, 3, 25, 101, 201)] == [2, 3, 13, 15, 15]
    assert set(np.linspace(-1, 1, 51)[coarse_places(51)].round(9)) <= set(
        np.linspace(-1, 1, 101)[coarse_places(101)].round(9)
    )


def test_weights_of_the_coarse_points_around_a_point() -> None:
    """They interpolate every bilinear function."""
    lattice = Lattice((9, 7))
    for index in np.ndindex(9, 7):
        around = lattice.around(index)
        assert all(corner in lattice for corner in around)
        found = sum(weight * (1 + i + 2 * j - 3 * i * j) for (i, j), weight in around.items())
        assert found == pytest.approx(1 + index[0] + 2 * index[1] - 3 * index[0] * index[1])


def test_log_odds_are_interpolated() -> None:
    """Cross-entropies of margins that move linearly are interpolated exactly."""
    margins = np.random.default_rng(0).standard_normal(200) * 5
    ends = [wrong(np.logaddexp(0, -(margins + x))) for x in (0, 4)]
    odds, linear = interpolate(ends, [0.25, 0.75])
    expected = np.logaddexp(0, -(margins + 3))
    np.testing.assert_allclose(odds[:, 0], expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(linear, 0.25 * ends[0] + 0.75 * ends[1])


def test_losses_below_zero_are_interpolated_as_they_are() -> None:
    ends = [wrong(np.random.default_rng(i).standard_normal(50)) for i in (0, 1)]
    assert len(interpolate(ends, [0.5, 0.5])) == 1
