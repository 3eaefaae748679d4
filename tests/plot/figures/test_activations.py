import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_rgb

from lossviz.plot.figures.activations import MOST, draw_activations, nearest, ridges_of, span, thinned
from lossviz.plot.kit.style import look
from tests.plot.artists import labelled, legend, ys
from tests.plot.conftest import Build


def fills(ax: Axes) -> list[FillBetweenPolyCollection]:
    """Every ridge in the order of drawing."""
    found = [each for each in ax.collections if isinstance(each, FillBetweenPolyCollection)]
    return sorted(found, key=lambda each: each.get_zorder())


def ridges(ax: Axes) -> list[np.ndarray]:
    """Corners of every ridge, in the order of drawing."""
    return [np.asarray(each.get_paths()[0].vertices) for each in fills(ax)]


def test_a_ridge_stands_at_its_step_and_hides_the_earlier_ones(build: Build) -> None:
    ax = draw_activations(build.series(build.layered(steps=range(0, 100, 10)))).axes[0]
    assert [corners[:, 1].max() for corners in ridges(ax)] == list(range(0, 100, 10))
    bottom, top = ax.get_ylim()
    assert bottom > 90
    assert top < 0
    peaks = [corners[corners[:, 1].argmin(), 0] for corners in ridges(ax)]
    assert peaks == pytest.approx([1] * 10, abs=0.05)
    ticks = ax.yaxis.get_majorticklocs()
    assert 0 <= min(ticks) < max(ticks) <= 90


def test_heights_are_densities(build: Build) -> None:
    results = build.layered(steps=[0, 10, 20])
    results.activation_histogram[1] *= 50
    results.activation_edge[2] *= 2
    heights = [np.ptp(corners[:, 1]) for corners in ridges(draw_activations(build.series(results)).axes[0])]
    assert heights[0] == pytest.approx(heights[1])
    assert heights[0] == pytest.approx(2 * heights[2], rel=1e-6)


def test_rows_are_runs_and_columns_are_layers(build: Build) -> None:
    drawn = draw_activations(build.series(build.layered(layers=[2, 9]), build.layered(layers=[9])))
    grid = np.array(drawn.axes).reshape(2, 2)
    assert [ax.get_title() for ax in grid[0]] == ["layer 2", "layer 9"]
    assert [ax.texts[0].get_text() for ax in grid[:, 0]] == ["standard", "batchnorm"]
    assert [len(ridges(ax)) > 0 for ax in drawn.axes] == [True, True, False, True]


def test_ridges_are_of_the_runs_colour_and_darken_with_the_step(build: Build) -> None:
    half = build.layered(layers=[2], steps=range(0, 101, 5))
    partial, ax = draw_activations(build.series(half, build.layered(layers=[2]))).axes
    shades = [np.asarray(each.get_facecolor())[0, :3] for each in fills(ax)]
    assert (np.diff([shade.sum() for shade in shades]) < 0).all()
    np.testing.assert_allclose(shades[-1], to_rgb(look(1).colour))
    # The same shade is the same step in every row.
    assert np.asarray(fills(partial)[-1].get_facecolor())[0, 0] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(("width", "shared"), [(3.0, True), (8.0, False)])
def test_a_column_shares_its_range_unless_one_run_would_be_a_needle(build: Build, width: float, shared: bool) -> None:
    drawn = draw_activations(build.series(build.layered(layers=[2]), build.layered(layers=[2], width=width)))
    first, second = drawn.axes
    assert (first.get_xlim() == second.get_xlim()) is shared
    assert first.xaxis.get_tick_params()["labelbottom"] is not shared
    assert second.get_xlim()[1] == pytest.approx(3 * width, rel=0.06)


def test_the_key_says_how_many_steps_are_drawn(build: Build) -> None:
    few = draw_activations(build.series(build.layered(steps=range(0, 25))))
    assert "at every measured step" in legend(few)[0]
    many = draw_activations(build.series(build.layered(steps=range(0, 151))))
    assert len(ridges(many.axes[0])) == 22
    assert "at 22 of 151 measured steps" in legend(many)[0]


def test_a_needle_does_not_flatten_the_others(build: Build) -> None:
    results = build.layered(steps=range(0, 200, 10))
    results.activation_edge[0] /= 1000
    heights = [np.ptp(corners[:, 1]) for corners in ridges(draw_activations(build.series(results)).axes[0])]
    assert heights[1] > 20


def test_steps_that_are_not_finite_are_marked_beside(build: Build) -> None:
    results = build.layered(steps=[0, 10, 20], layers=[2])
    results.activation_variance[1] = np.inf
    results.activation_histogram[2] = 0
    drawn = draw_activations(build.series(results))
    assert [ys(line) for line in labelled(drawn.axes[0].lines, "not finite")] == [[10], [20]]
    assert "not finite" in legend(drawn)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("steps", [[7], [0, 10]])
def test_no_value_breaks_the_axes(build: Build, bad: float, steps: list[int]) -> None:
    drawn = draw_activations(build.series(xr.full_like(build.layered(steps=steps, layers=[2]), bad)))
    drawn.draw_without_rendering()
    assert np.isfinite([(*ax.get_ylim(), *ax.get_xlim()) for ax in drawn.axes]).all()


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
