import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import Collection, QuadMesh
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.contour import QuadContourSet

from lossviz.plot.figures.plane import ACCURACY, draw_accuracy, draw_contour, draw_convexity, draw_heatmap
from lossviz.plot.kit.cells import uncertain
from lossviz.plot.kit.style import NOT_FINITE
from lossviz.plot.series import DEFAULT, Options, plotted_runs
from lossviz.surface.sampled.estimator import GROUPS
from tests.plot.artists import arrows, cells, labelled, legend, xs, ys
from tests.plot.conftest import Build


def lines(ax: Axes) -> QuadContourSet:
    (found,) = (each for each in ax.collections if isinstance(each, QuadContourSet) and not each.filled)
    return found


def levels(ax: Axes) -> np.ndarray:
    return np.asarray(list(lines(ax).levels))


def test_all_runs_have_the_same_levels_and_colours(build: Build) -> None:
    drawn = draw_contour(
        build.series(build.surface(lambda x, y: 1 + x**2 + y**2), build.surface(lambda x, y: 3 + 5 * x**2 - y))
    )
    first, second, _bar = drawn.axes
    np.testing.assert_array_equal(lines(first).levels, lines(second).levels)
    fills = [next(c for c in ax.collections if isinstance(c, QuadContourSet) and c.filled) for ax in (first, second)]
    np.testing.assert_array_equal(fills[0].levels, fills[1].levels)
    np.testing.assert_array_equal(fills[0].get_facecolor(), fills[1].get_facecolor())
    bounds = np.asarray(list(fills[0].levels))
    assert bounds.min() == 1
    assert bounds.max() == 8.5


def test_x_is_horizontal(build: Build) -> None:
    # The loss depends on x alone: every line of its level is vertical.
    drawn = draw_contour(build.series(build.surface(lambda x, y: 1 + x + 0 * y, x=9, y=4)))
    paths = [np.asarray(path.vertices) for path in lines(drawn.axes[0]).get_paths()]
    assert sum(len(path) > 0 for path in paths) >= 6
    for level, path in zip(levels(drawn.axes[0]), paths, strict=True):
        assert path[:, 0] == pytest.approx(level - 1)
    assert drawn.axes[0].get_xlim() == (-1, 1)
    assert drawn.axes[0].get_ylim() == (-0.5, 0.5)


def test_steep_losses_have_logarithmic_levels(build: Build) -> None:
    there = levels(draw_contour(build.series(build.surface(lambda x, y: np.exp(6 * x + y)))).axes[0])
    ratios = there[1:] / there[:-1]
    assert ratios.max() / ratios.min() < 2


def test_the_checkpoint_has_a_cross(build: Build) -> None:
    (cross,) = draw_contour(build.series(build.surface(lambda x, y: 1 + x + y))).axes[0].lines
    assert (xs(cross), ys(cross), cross.get_marker()) == ([0], [0], "+")


def test_labels_neither_touch_nor_leave_the_panel(build: Build) -> None:
    drawn = draw_contour(build.series(*[build.surface(lambda x, y: 0.01 + x**2 + y**2, x=21, y=21)] * 3))
    for ax in drawn.axes[:3]:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) >= 3
        assert all(not box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
        assert all(ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 for box in boxes)


def test_a_flat_run_beside_a_steep_one_says_so(build: Build) -> None:
    drawn = draw_contour(
        build.series(build.surface(lambda x, _: 0.3 + 0 * x), build.surface(lambda x, _: np.exp(6 * x)))
    )
    assert drawn.axes[0].texts[0].get_text() == "no level between\n0.3 and 0.3"


def test_cells_that_are_not_finite_are_marked(build: Build) -> None:
    results = build.surface(lambda x, y: np.where(x > 0.9, np.inf, 1 + x + y))
    drawn = draw_contour(build.series(results))
    (marked,) = labelled(drawn.axes[0].collections, "not finite")
    assert cells(marked).count() == 5
    assert marked.get_cmap()(0.0) == to_rgba(NOT_FINITE)


def test_a_partial_plane_is_drawn_over_the_whole_range(build: Build) -> None:
    results = build.surface(lambda x, y: 2 + x + 0 * y, x=9, y=9)
    fine = np.ones((9, 9), bool)
    fine[::4, ::4] = fine[1, :5] = False
    results["status"] = results.status.where(~fine, 0)
    results["loss"] = results.loss.where(~fine)
    drawn = draw_contour(build.series(results))
    paths = [np.asarray(path.vertices) for path in lines(drawn.axes[0]).get_paths()]
    paths = [path for path in paths if len(path)]
    assert len(paths) >= 6
    assert all((path[:, 1].min(), path[:, 1].max()) == (-0.5, 0.5) for path in paths)
    assert drawn.axes[0].get_title().endswith("partial: 14 of 81 points")
    # Cells still to be computed lie under the contours: no reader looks for them.
    assert legend(drawn) == ["checkpoint"]


def test_checkpoints_that_the_plane_leads_to_have_names(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x**2 + y**2, x=21, y=21)
    names = ["step 300", "runs/q/a/checkpoints/step-00000300.safetensors", "other.pt"]
    ax, _ = draw_contour(build.series(build.with_checkpoints(plane, names, [0, 0.5, 0.2], [0, 0, 0.3]))).axes
    assert {text.get_text() for text in ax.texts} >= {"step 300", "a step 300", "other"}
    assert [(*xs(each), *ys(each)) for each in labelled(ax.lines, "other checkpoint")] == [(0.5, 0), (0.2, 0.3)]


@pytest.mark.parametrize(("x", "name"), [(0.0, set()), (0.5, {"step 300"})])
def test_a_checkpoint_alone_at_the_centre_needs_no_name(build: Build, x: float, name: set[str]) -> None:
    plane = build.surface(lambda x, y: 1 + x**2 + y**2, x=21, y=21)
    ax, _ = draw_contour(build.series(build.with_checkpoints(plane, ["step 300"], [x], [0.0]))).axes
    assert {text.get_text() for text in ax.texts} & {"step 300"} == name


def test_nothing_finite_is_drawable(build: Build) -> None:
    draw_contour(build.series(build.surface(lambda x, _: np.nan * x))).draw_without_rendering()


def mesh(ax: Axes, label: str = "loss") -> Collection:
    (found,) = labelled(ax.collections, label)
    return found


@pytest.mark.parametrize("dims", [("y", "x"), ("x", "y")])
def test_every_cell_lies_where_its_point_is(build: Build, dims: tuple[str, str]) -> None:
    results = build.surface(lambda x, y: 5 + 2 * x + y, x=7, y=5)
    drawn = mesh(draw_heatmap(build.series(results.transpose(*dims))).axes[0])
    assert isinstance(drawn, QuadMesh)
    corners = np.asarray(drawn.get_coordinates())
    x, y = ((corners[1:, 1:, axis] + corners[:-1, :-1, axis]) / 2 for axis in (0, 1))
    assert cells(drawn).shape == (5, 7)
    np.testing.assert_allclose(cells(drawn), 5 + 2 * x + y)


def test_one_colour_means_one_loss_in_all_panels(build: Build) -> None:
    runs = [build.surface(lambda x, y: 0.01 + x**2 + y**2), build.surface(lambda x, y: 1 + x**2 + y**2)]
    first, second, bar = draw_heatmap(build.series(*runs)).axes
    assert mesh(first).norm.vmin == mesh(second).norm.vmin == pytest.approx(0.01)
    assert mesh(first).norm.vmax == mesh(second).norm.vmax == pytest.approx(2.25)
    assert isinstance(mesh(first).norm, LogNorm)
    assert bar.get_ylabel() == "loss (nats)"


@pytest.mark.parametrize(("log", "kind"), [(True, True), (False, False)])
def test_the_scale_follows_the_request(build: Build, log: bool, kind: bool) -> None:
    drawn = draw_heatmap(build.series(build.surface(lambda x, y: 1 + x**2 + y**2)), Options(log=log))
    assert isinstance(mesh(drawn.axes[0]).norm, LogNorm) is kind


def test_a_clip_leaves_the_numbers_and_shows_in_the_bar(build: Build) -> None:
    results = build.surface(lambda x, y: 1 + 9 * x**2 + y**2)
    before = results.copy(deep=True)
    drawn = draw_heatmap(build.series(results), Options(clip=(0.5, 4.0)))
    assert results.identical(before)
    panel, bar = drawn.axes
    np.testing.assert_array_equal(cells(mesh(panel)), results.loss)
    assert mesh(panel).norm.vmax == 4.0
    assert bar.get_ylabel() == "loss (nats), clipped to [0.5, 4]"
    assert arrows(bar) == ["max"]


def test_unknown_and_not_finite_cells_differ(build: Build) -> None:
    results = build.surface(lambda x, y: np.where(y < -0.4, np.nan, 1 + x + y), done=20)
    drawn = draw_heatmap(build.series(results))
    ax = drawn.axes[0]
    shown = {label: ~np.ma.getmaskarray(cells(labelled(ax.collections, label)[-1])) for label in ("loss", "not finite")}
    status = results.status.values
    np.testing.assert_array_equal(shown["loss"].reshape(status.shape), status == 1)
    np.testing.assert_array_equal(shown["not finite"].reshape(status.shape), status == 2)
    assert len(mesh(ax, "not computed yet").get_paths()) == (status == 0).sum()
    assert mesh(ax, "not computed yet").get_hatch()
    assert legend(drawn) == ["checkpoint", "not finite", "not computed yet"]


def test_finer_points_lie_on_the_cells_of_a_coarse_lattice(build: Build) -> None:
    results = build.surface(lambda x, y: 2 + x + y, x=9, y=5)
    known = np.zeros((5, 9), bool)
    known[::2, ::4] = known[1, :3] = True
    results["status"], results["loss"] = results.status.where(known, 0), results.loss.where(known)
    drawn = draw_heatmap(build.series(results))
    coarse, fine = labelled(drawn.axes[0].collections, "loss")
    assert isinstance(coarse, QuadMesh)
    np.testing.assert_allclose(cells(coarse), results.loss.values[::2, ::4])
    assert cells(coarse).count() == 9
    np.testing.assert_array_equal(~np.ma.getmaskarray(cells(fine)), known)
    # No gap, and no cell beyond the last ones of the grid.
    corners = np.asarray(coarse.get_coordinates()).reshape(-1, 2)
    assert drawn.axes[0].get_xlim() == pytest.approx((-1.125, 1.125))
    assert corners[:, 0].min() <= -1.125
    assert corners[:, 0].max() >= 1.125
    assert legend(drawn) == ["checkpoint"]


def test_names_of_checkpoints_move_apart(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x**2 + y**2)
    known = build.with_checkpoints(plane, ["step 300", "warm-restart.pt", "wide.pt"], [0, 0.2, 0.95], [0, 0, 0.45])
    ax = draw_heatmap(build.series(known)).axes[0]
    assert [text.get_text() for text in ax.texts] == ["step 300", "warm-restart", "wide"]
    boxes = [text.get_window_extent() for text in ax.texts]
    assert all(not box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
    assert all(ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 and box.y1 <= ax.bbox.y1 for box in boxes)


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


def test_a_convexity_that_is_nowhere_finite_is_drawable(build: Build) -> None:
    draw_convexity(build.series(curved(build, smallest=np.nan))).draw_without_rendering()


def sampled(results: xr.Dataset, stderr: float) -> xr.Dataset:
    """A scan whose losses are estimates, with errors that are independent from point to point."""
    shape = (*results.loss.shape, GROUPS)
    draws = np.random.default_rng(0).standard_normal(shape)
    deviations = stderr * draws / np.linalg.norm(draws, axis=-1, keepdims=True)
    found = results.assign(loss_deviation=(("y", "x", "group"), deviations))
    return found.assign(loss_stderr=xr.full_like(results.loss, stderr))


def test_accuracy_is_the_relative_standard_error(build: Build) -> None:
    results = sampled(build.surface(lambda x, y: 2 + x + 0 * y), 0.1)
    drawn = draw_accuracy(build.series(results))
    (mesh,) = labelled(drawn.axes[0].collections, "accuracy")
    np.testing.assert_allclose(cells(mesh), np.broadcast_to(10 / (2 + results.x.values), results.loss.shape))
    assert drawn.axes[1].get_ylabel() == "standard error (% of the loss)"


def test_a_plane_whose_errors_are_not_known_has_no_figure_of_them(build: Build) -> None:
    results = build.surface(lambda x, y: 2 + x + 0 * y)
    runs = plotted_runs([build.run(known=sampled(results, 0.1), theirs=sampled(results, np.nan))])
    assert list(ACCURACY.drawings(runs, DEFAULT)) == ["surface-known-accuracy"]


def test_contours_beside_a_hole_may_lie_elsewhere(build: Build) -> None:
    results = sampled(
        build.surface(lambda x, y: np.where((x == 0) & (y == 0), np.inf, 1 + 9 * x + 0 * y), x=5, y=5), 0.1
    )
    beside = np.zeros((5, 5), bool)
    beside[[1, 2, 2, 3], [2, 1, 3, 2]] = True
    np.testing.assert_array_equal(uncertain(results)[results.loss < np.inf], beside[results.loss < np.inf])
    assert not uncertain(sampled(results, 0.0)).any()


@pytest.mark.parametrize(("stderr", "colours"), [(0.0, 1), (0.02, 2)])
def test_contour_lines_that_may_lie_elsewhere_are_dashed(build: Build, stderr: float, colours: int) -> None:
    """Where the loss is flat, and not where it is steep; without errors all are black."""
    results = sampled(build.surface(lambda x, y: 1 + np.abs(x) ** 3 + 0 * y, x=21, y=5), stderr)
    figure = draw_contour(build.series(results))
    drawn = [each for each in figure.axes[0].collections if isinstance(each, QuadContourSet) and not each.filled]
    dashed = [each.linestyles is not None for each in drawn]
    assert dashed == [True, False][-colours:]
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert key == ["checkpoint", *["uncertain contour"][: colours - 1]]
    doubtful = uncertain(results)
    assert doubtful[:, 10].all() == (colours == 2)
    assert not doubtful[:, [0, 20]].any()
    assert not uncertain(results.drop_vars("loss_deviation")).any()
