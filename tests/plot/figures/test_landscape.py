import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.container import ErrorbarContainer

from lossviz.plot.figures.landscape import APART, band_of, draw_landscape
from lossviz.plot.series import probe_note
from lossviz.results import ProbeResults, TrainResults
from tests.plot.artists import labelled, legend, xs
from tests.plot.conftest import Build


def bands(ax: Axes) -> dict[str, FillBetweenPolyCollection]:
    return {str(each.get_label()): each for each in ax.collections if isinstance(each, FillBetweenPolyCollection)}


def edges(ax: Axes, label: str) -> dict[float, tuple[float, float]]:
    """Lowest and highest drawn value at every step."""
    points = np.concatenate([np.asarray(path.vertices) for path in bands(ax)[label].get_paths()])
    at = {step: points[points[:, 0] == step, 1] for step in np.unique(points[:, 0])}
    return {float(step): (values.min(), values.max()) for step, values in at.items()}


def test_bands_run_from_least_to_greatest_over_the_lengths(build: Build) -> None:
    results = build.probe(penalty=0.5)
    loss, gradient, smoothness = draw_landscape(build.series(results)).axes
    for ax, values in ((loss, results.path_loss + 0.5), (gradient, results.grad_distance)):
        drawn = edges(ax, "standard")
        assert list(drawn) == results.step.values.tolist()
        np.testing.assert_allclose([low for low, _ in drawn.values()], values.min("length"))
        np.testing.assert_allclose([high for _, high in drawn.values()], values.max("length"))
    np.testing.assert_array_equal(smoothness.lines[0].get_ydata(), results.smoothness.max("length"))
    assert loss.get_yscale() == "log"


def test_the_order_of_dimensions_in_the_file_does_not_matter(build: Build) -> None:
    results = build.probe()
    turned = band_of(results.path_loss.transpose("length", "step"))
    np.testing.assert_array_equal(turned.high, results.path_loss.max("length"))


@pytest.mark.parametrize(("penalty", "title"), [(0.0, "(a) loss"), (0.5, "(a) loss + L2 penalty")])
def test_the_penalty_is_named_where_there_is_one(build: Build, penalty: float, title: str) -> None:
    drawn = draw_landscape(build.series(build.probe(penalty=penalty)))
    assert drawn.axes[0].get_title("left") == title


def test_narrow_bands_lie_on_wide_ones(build: Build) -> None:
    drawn = draw_landscape(build.series(build.probe(0.1), build.probe(5.0), build.probe(1.0)))
    for ax in drawn.axes[:2]:
        order = {label: band.get_zorder() for label, band in bands(ax).items()}
        assert order["batchnorm"] < order["noisy"] < order["standard"]


def test_an_infinite_loss_takes_the_band_to_the_edge(build: Build) -> None:
    results = build.probe()
    results.path_loss[3, 2:] = np.inf
    drawn = draw_landscape(build.series(results))
    ax = drawn.axes[0]
    low, high = edges(ax, "standard")[15]
    assert low == pytest.approx(float(results.path_loss[3, 0]))
    assert np.isfinite(high)
    assert high > ax.get_ylim()[1]
    assert ax.get_ylim()[1] < 2 * float(results.path_loss.where(np.isfinite).max())
    assert [xs(line) for line in labelled(ax.lines, "not finite")] == [[15]]
    assert "not finite" in legend(drawn)


def test_a_step_without_any_number_is_a_gap_with_a_mark(build: Build) -> None:
    results = build.probe()
    results.path_loss[4] = np.nan
    results.path_loss[6, 0] = np.nan
    ax = draw_landscape(build.series(results)).axes[0]
    drawn = edges(ax, "standard")
    assert 20 not in drawn
    assert drawn[30][0] == pytest.approx(float(results.path_loss[6, 1]))
    assert [xs(line) for line in labelled(ax.lines, "not finite")] == [[20, 30]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0])
def test_no_value_breaks_the_axes(build: Build, bad: float) -> None:
    drawn = draw_landscape(build.series(xr.full_like(build.probe(), bad)))
    drawn.draw_without_rendering()
    assert np.isfinite([ax.get_ylim() for ax in drawn.axes]).all()


def test_a_single_step_has_bars_side_by_side(build: Build) -> None:
    series = build.series(*(build.probe(factor, steps=[200], planned=1) for factor in (1, 2)))
    drawn = draw_landscape(series)
    drawn.draw_without_rendering()
    centres = []
    bars = {each.get_label(): each for each in drawn.axes[0].containers if isinstance(each, ErrorbarContainer)}
    for each in series:
        (bar,) = bars[each.label].lines[2]
        (segment,) = (np.asarray(points) for points in bar.get_segments())
        np.testing.assert_allclose(segment[:, 1], [each.results.path_loss.min(), each.results.path_loss.max()])
        centres.append(bar.get_transform().transform(segment)[0, 0])
    assert centres[1] - centres[0] == pytest.approx(APART / 72 * drawn.dpi)
    assert [line.get_marker() for line in drawn.axes[2].lines] == ["o", "s"]


def test_legend_names_runs_lengths_and_what_is_missing(build: Build) -> None:
    drawn = draw_landscape(build.series(build.probe(), build.probe(steps=range(0, 100, 5))))
    names = legend(drawn)
    assert names[:2] == ["standard", "batchnorm (partial: 20 of 41 probes)"]
    assert "(a, b) range over η = 0.05 … 0.4" in names


def test_different_lengths_are_not_passed_off_as_the_same(build: Build) -> None:
    drawn = draw_landscape(build.series(build.probe(), build.probe().isel(length=[0, 1])))
    assert any("not the same in all runs" in name for name in legend(drawn))


def test_a_diverged_training_is_named(build: Build) -> None:
    results, trained = build.probe(steps=range(0, 90, 5), planned=18), TrainResults(build.train(diverged_at=87))
    assert probe_note(ProbeResults(results), trained) == "diverged at step 87"
    results.attrs["planned"] = 20
    assert probe_note(ProbeResults(results), trained) == "diverged at step 87, partial: 18 of 20 probes"


def test_an_outlier_in_the_gradient_turns_the_axis_logarithmic(build: Build) -> None:
    results = build.probe()
    assert draw_landscape(build.series(results)).axes[1].get_yscale() == "linear"
    results.grad_distance[3, 3] = 1e6
    assert draw_landscape(build.series(results)).axes[1].get_yscale() == "log"
