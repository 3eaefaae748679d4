import numpy as np
import pytest
import xarray as xr

from lossviz.plot.figures.convexity import draw_convexity
from tests.plot.artists import arrows, cells, labelled, legend
from tests.plot.conftest import Build


def curved(build: Build, smallest: float = -2.0, done: int | None = None) -> xr.Dataset:
    results = build.surface(lambda x, y: 1 + x**2 + y**2, done=done)
    largest = 10 + 0 * results.loss
    return results.assign(hessian_max=largest, hessian_min=smallest * (results.x**2 + 0 * largest).transpose("y", "x"))


def test_the_ratio_of_the_eigenvalues_in_colours_from_0_to_a_half(build: Build) -> None:
    results = curved(build)
    drawn = draw_convexity(build.series(results, curved(build, smallest=-1.0)))
    ax, other, bar = drawn.axes
    (mesh,), (second,) = labelled(ax.collections, "convexity"), labelled(other.collections, "convexity")
    np.testing.assert_allclose(cells(mesh), 0.2 * np.ones((5, 1)) * results.x.values**2)
    assert (mesh.norm.vmin, mesh.norm.vmax, mesh.get_cmap().name) == (0, 0.5, "viridis")
    assert (second.norm.vmin, second.norm.vmax) == (0, 0.5)
    assert "lambda" in bar.get_ylabel()
    assert arrows(bar) == []
    assert ax.get_title() == "standard\nloss 1 at the centre"
    assert [line.get_marker() for line in ax.lines] == ["+"]


def test_larger_ratios_have_an_arrow(build: Build) -> None:
    bar = draw_convexity(build.series(curved(build, smallest=-6.0))).axes[-1]
    assert arrows(bar) == ["max"]


@pytest.mark.parametrize(("largest", "smallest"), [(np.nan, -1.0), (0.0, -1.0), (1.0, np.inf), (0.0, 0.0)])
def test_ratios_that_are_not_finite_are_marked(build: Build, largest: float, smallest: float) -> None:
    results = curved(build, done=28)
    results.hessian_max[1, 2], results.hessian_min[1, 2] = largest, smallest
    drawn = draw_convexity(build.series(results))
    marked = labelled(drawn.axes[0].collections, "not finite")[-1]
    assert np.argwhere(~np.ma.getmaskarray(cells(marked)).reshape(5, 7)).tolist() == [[1, 2]]
    assert legend(drawn) == ["checkpoint", "not finite", "not computed yet"]


def test_nothing_finite_is_drawable(build: Build) -> None:
    draw_convexity(build.series(curved(build, smallest=np.nan))).draw_without_rendering()
