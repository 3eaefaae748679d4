import numpy as np
import pytest
import xarray as xr

from lossviz.plot.figures.shift import draw_shift
from tests.plot.artists import labelled
from tests.plot.conftest import Build


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
def test_no_value_breaks_the_axes(build: Build, bad: float) -> None:
    drawn = draw_shift(build.series(xr.full_like(build.layered(), bad)))
    drawn.draw_without_rendering()
    assert np.isfinite([ax.get_ylim() for ax in drawn.axes]).all()
