import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.contour import QuadContourSet

from lossviz.plot.figures.contour import draw_contour
from lossviz.plot.kit.style import NOT_FINITE
from tests.plot.artists import cells, labelled, legend, xs, ys
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


@pytest.mark.parametrize(("panels", "columns"), [(4, 4), (5, 3), (6, 3), (7, 4), (9, 3)])
def test_more_than_four_panels_wrap_into_even_rows(build: Build, panels: int, columns: int) -> None:
    series = build.series(build.surface(lambda x, y: 1 + x + y)) * panels
    drawn = draw_contour(series)
    drawn.draw_without_rendering()
    tops = [round(ax.get_position().y1, 2) for ax in drawn.axes[:panels]]
    assert len(set(tops[:columns])) == 1
    assert tops[columns:] == [] or max(tops[columns:]) < tops[0]
    # A column is numbered below its last panel.
    numbered = [bool(ax.xaxis.get_tick_params()["labelbottom"]) for ax in drawn.axes[:panels]]
    assert numbered == [place + columns >= panels for place in range(panels)]


def test_title_says_name_centre_and_what_is_missing(build: Build) -> None:
    drawn = draw_contour(build.series(build.surface(lambda x, y: 0.25 + x**2 + y**2, done=20)))
    assert drawn.axes[0].get_title() == "standard\nloss 0.25 at the centre\npartial: 20 of 35 points"
    assert "not computed yet" in legend(drawn)


def test_the_centre_is_not_named_before_it_is_known(build: Build) -> None:
    drawn = draw_contour(build.series(build.surface(lambda x, y: 0.25 + x**2 + y**2, done=10)))
    assert "centre" not in drawn.axes[0].get_title()


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


def test_the_axes_say_what_was_measured_of_the_directions(build: Build) -> None:
    results = build.surface(lambda x, y: 1 + x + y).assign_attrs(x_explained_variance=0.713, y_eigenvalue=12.5)
    first, second, _ = draw_contour(build.series(results, results)).axes
    assert first.get_xlabel() == "x (units of d)\n71.3% of the variance"
    assert first.get_ylabel() == "y (units of d)\neigenvalue 12.5"
    assert second.get_ylabel() == "eigenvalue 12.5"


def test_nothing_finite_is_drawable(build: Build) -> None:
    draw_contour(build.series(build.surface(lambda x, _: np.nan * x))).draw_without_rendering()


def test_the_title_says_what_is_not_usual_of_the_protocol(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y)
    usual, other = (
        plane.assign_attrs(split="train", batch_norm="frozen"),
        plane.assign_attrs(split="test", batch_norm="batch"),
    )
    first, second, _ = draw_contour(build.series(usual, other)).axes
    assert first.get_title() == "standard\nloss 1 at the centre"
    assert second.get_title() == "batchnorm\nloss 1 at the centre\ntest set\nBatchNorm: batch"
