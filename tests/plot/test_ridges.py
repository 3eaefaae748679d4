import numpy as np
import pytest

from lossviz.plot.ridges import MOST, nearest, ridges_of, span, thinned
from tests.plot.conftest import Build


@pytest.mark.parametrize("count", [1, 25, 26, 51, 151])
def test_steps_are_thinned_evenly(count: int) -> None:
    kept = thinned(np.arange(0, 100 * count, 100))
    assert kept[0] == 0
    assert MOST / 2 < len(kept) <= MOST or len(kept) == count
    assert len(set(np.diff(kept))) <= 1


def test_a_run_shows_the_steps_nearest_to_those_of_the_others_up_to_its_own_end() -> None:
    wanted = np.arange(0, 15001, 700)
    np.testing.assert_array_equal(nearest(np.arange(0, 15001, 100), wanted), wanted)
    np.testing.assert_array_equal(nearest(np.arange(0, 1901, 300), wanted), [0, 600, 1500])
    np.testing.assert_array_equal(nearest(np.array([700]), wanted), [700])


def test_a_run_measured_between_the_steps_of_the_others_is_not_empty() -> None:
    np.testing.assert_array_equal(nearest(np.array([40]), np.arange(0, 15001, 700)), [40])


def test_densities_have_area_one_whatever_the_bins(build: Build) -> None:
    for width in (0.1, 5.0):
        results = build.layered(width=width)
        results.activation_histogram[:] *= 17
        (ridge,) = ridges_of(results, 9, np.array([20]))
        assert (ridge.density * np.diff(ridge.edges)).sum() == pytest.approx(1)
        assert ridge.density.max() == pytest.approx(0.5 / width, rel=0.05)
        assert ridge.quantiles(0.5) == pytest.approx(width)


def test_what_is_not_finite_is_known(build: Build) -> None:
    results = build.layered()
    results.activation_mean[1, 0] = np.nan
    results.activation_histogram[2, 0] = 0
    results.activation_edge[3, 0] = np.inf
    ridges = ridges_of(results, 2, results.step.values[:5])
    assert [ridge.complete for ridge in ridges] == [True, False, False, False, True]
    assert [bool(ridge.density.any()) for ridge in ridges] == [True, True, False, False, True]
    assert all(np.isfinite(ridge.edges).all() for ridge in ridges)


def test_an_activation_far_out_does_not_widen_the_span(build: Build) -> None:
    results = build.layered()
    low, high = span(ridges_of(results, 2, results.step.values)) or (0, 0)
    assert -1 < low < -0.8
    assert 2.8 < high < 3
    results.activation_edge[4] *= 100
    assert span(ridges_of(results, 2, results.step.values)) == pytest.approx((low, high))
    assert span([]) is None
