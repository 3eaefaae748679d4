import numpy as np
import pytest
import xarray as xr

from lossviz.plot.figures.sharpness import draw_sharpness
from lossviz.plot.kit.style import KEY, look
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build, configuration


def test_the_largest_is_bold_and_the_others_are_thin(build: Build) -> None:
    results = build.layered()
    drawn = draw_sharpness(build.series(results))
    bold, thin = labelled(drawn.axes[0].lines, "standard")
    np.testing.assert_array_equal(bold.get_ydata(), results.hessian_eigenvalue.sel(rank=1))
    np.testing.assert_array_equal(thin.get_ydata(), results.hessian_eigenvalue.sel(rank=2))
    assert bold.get_linewidth() > 2 * thin.get_linewidth()
    assert legend(drawn) == ["standard", "largest", "second"]


def with_training(results: xr.Dataset, *settings: str) -> xr.Dataset:
    return results.assign_attrs(configuration=configuration(*(f"train.{each}" for each in settings)))


def test_the_edge_of_stability_is_drawn_once_for_each_learning_rate(build: Build) -> None:
    series = build.series(build.layered(), build.layered(), build.layered())
    ax = draw_sharpness(series).axes[0]
    (edge,) = labelled(ax.lines, "2/η")
    assert (ys(edge), edge.get_color(), edge.get_linestyle()) == ([20, 20], KEY, "--")
    assert [text.get_text() for text in ax.texts] == ["2/η = 20"]
    series[2] = series[2].with_results(with_training(build.layered(), "lr=0.001"))
    ax = draw_sharpness(series).axes[0]
    edges = {ys(line)[0]: line.get_color() for line in labelled(ax.lines, "2/η")}
    assert edges == {2000: look(2).colour, 20: KEY}
    assert ax.get_ylim()[1] > 2000


def test_the_edge_is_that_of_the_optimiser(build: Build) -> None:
    heavy, nesterov, adam = (
        with_training(build.layered(), *settings)
        for settings in (["momentum=0.9"], ["momentum=0.9", "nesterov=true"], ["optimizer=adam"])
    )
    drawn = draw_sharpness(build.series(heavy, nesterov, adam))
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts == ["2(1+β)/η = 38", "2(1+β)/(η(1+2β)) = 13.57"]
    note = drawn.legends[1].get_title().get_text()
    assert note.replace("\n", " ").startswith("noisy: no edge is drawn. That of Adam, 38/η for β₁ = 0.9")


def test_the_edge_follows_the_schedule(build: Build) -> None:
    results = with_training(build.layered(steps=[0, 99, 100, 200]), "schedule={kind: step, milestones: [100]}")
    ax = draw_sharpness(build.series(results)).axes[0]
    (edge,) = labelled(ax.lines, "2/η")
    np.testing.assert_allclose(ys(edge), [20, 20, 200, 200])
    assert [text.get_text() for text in ax.texts] == ["2/ηₜ"]


def test_an_edge_that_rises_to_infinity_does_not_flatten_the_eigenvalues(build: Build) -> None:
    results = with_training(build.layered(steps=[0, 100, 199]), "schedule={kind: cosine}")
    assert draw_sharpness(build.series(results)).axes[0].get_ylim()[1] < 1000


@pytest.mark.parametrize(("steps", "scale"), [(range(0, 10), "linear"), (range(0, 200), "log")])
def test_a_wide_range_is_logarithmic(build: Build, steps: range, scale: str) -> None:
    results = build.layered(steps=steps).isel(rank=[0])
    results["hessian_eigenvalue"] = 4 + results.hessian_eigenvalue
    assert draw_sharpness(build.series(results)).axes[0].get_yscale() == scale


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_no_value_breaks_the_axes(build: Build, bad: float) -> None:
    drawn = draw_sharpness(build.series(xr.full_like(build.layered(steps=[0, 5]), bad)))
    drawn.draw_without_rendering()
    ax = drawn.axes[0]
    assert np.isfinite(ax.get_ylim()).all()
    if not np.isfinite(bad):
        assert xs(labelled(ax.lines, "not finite")[0]) == [0, 5]
