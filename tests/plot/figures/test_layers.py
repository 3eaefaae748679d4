import numpy as np
import pytest
import xarray as xr

from lossviz.plot.figures.layers import draw_moments, draw_shift
from tests.plot.artists import labelled, legend, xs
from tests.plot.conftest import Build


def test_mean_above_variance_a_column_for_each_layer(build: Build) -> None:
    first, second = build.layered(), build.layered(layers=[9, 13])
    drawn = draw_moments(build.series(first, second))
    grid = np.array(drawn.axes).reshape(2, 3)
    assert [ax.get_title() for ax in grid[0]] == ["layer 2", "layer 9", "layer 13"]
    assert [ax.get_ylabel() for ax in grid[:, 0]] == ["mean", "variance"]
    for row, quantity in zip(grid, ("activation_mean", "activation_variance"), strict=True):
        for ax, layer in zip(row, (2, 9, 13), strict=True):
            for label, results in (("standard", first), ("batchnorm", second)):
                curves = labelled(ax.lines, label)
                assert len(curves) == (layer in results.layer)
                for curve in curves:
                    np.testing.assert_array_equal(curve.get_ydata(), results[quantity].sel(layer=layer))
    assert legend(drawn) == ["standard", "batchnorm"]


def test_many_steps_are_averaged_over_the_raw_ones(build: Build) -> None:
    results = build.layered(steps=range(150))
    drawn = draw_moments(build.series(results))
    (raw,), (mean,) = (labelled(drawn.axes[0].lines, label) for label in ("raw", "standard"))
    np.testing.assert_array_equal(raw.get_ydata(), results.activation_mean[:, 0])
    # The mean of six values of a straight line lies on it, half a step aside.
    assert np.asarray(mean.get_ydata())[50] == pytest.approx(float(results.activation_mean[50, 0]), abs=0.011)
    assert "mean of 6 measured steps" in legend(drawn)


def test_a_wide_variance_is_logarithmic_and_what_is_not_finite_is_marked(build: Build) -> None:
    results = build.layered()
    results.activation_variance[0, 1], results.activation_variance[1, 1] = 1e4, np.inf
    drawn = draw_moments(build.series(results))
    assert [ax.get_yscale() for ax in drawn.axes] == ["linear", "linear", "linear", "log"]
    assert [xs(line) for line in labelled(drawn.axes[3].lines, "not finite")] == [[5]]
    assert "not finite" in legend(drawn)


def test_a_single_step_shows_by_its_markers(build: Build) -> None:
    drawn = draw_moments(build.series(*[build.layered(steps=[7], layers=[2])] * 2))
    drawn.draw_without_rendering()
    assert [line.get_marker() for line in drawn.axes[0].lines] == ["o", "s"]


def test_distance_above_cosine_on_axes_shared_by_the_layers(build: Build) -> None:
    results = build.layered()
    drawn = draw_shift(build.series(results, build.layered()))
    grid = np.array(drawn.axes).reshape(2, 2)
    for row, quantity in zip(grid, ("shift_l2", "shift_cosine"), strict=True):
        assert row[0].get_ylim() == row[1].get_ylim()
        for ax, layer in zip(row, (2, 9), strict=True):
            (curve,) = labelled(ax.lines, "batchnorm")
            np.testing.assert_array_equal(curve.get_ydata(), results[quantity].sel(layer=layer))
    assert [ax.get_yscale() for ax in drawn.axes] == ["log", "log", "linear", "linear"]


@pytest.mark.parametrize(("factor", "low"), [(1.0, -0.5), (0.0, 0.0)])
def test_cosines_are_drawn_from_zero_or_below_to_one(build: Build, factor: float, low: float) -> None:
    results = build.layered()
    results["shift_cosine"] = factor * results.shift_cosine
    bottom, top = draw_shift(build.series(results)).axes[2].get_ylim()
    assert low - 0.1 < bottom < low < 1 < top < 1.1


def test_the_first_layer_has_no_shift(build: Build) -> None:
    results = build.layered(layers=[1, 2])
    results.shift_l2[:, 0], results.shift_cosine[:, 0] = 0, 1
    drawn = draw_shift(build.series(results))
    drawn.draw_without_rendering()
    assert drawn.axes[0].get_ylim()[0] > 1e-3


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_no_shift_breaks_the_axes(build: Build, bad: float) -> None:
    drawn = draw_shift(build.series(xr.full_like(build.layered(), bad)))
    drawn.draw_without_rendering()
    assert np.isfinite([ax.get_ylim() for ax in drawn.axes]).all()
