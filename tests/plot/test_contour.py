import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.contour import QuadContourSet

from lossviz.plot.contour import contour
from lossviz.plot.style import NOT_FINITE
from tests.plot.artists import cells, labelled, legend, xs, ys
from tests.plot.conftest import Build


def lines(ax: Axes) -> QuadContourSet:
    (found,) = (each for each in ax.collections if isinstance(each, QuadContourSet) and not each.filled)
    return found


def levels(ax: Axes) -> np.ndarray:
    return np.asarray(list(lines(ax).levels))


def test_all_runs_have_the_same_levels_and_colours(build: Build) -> None:
    drawn = contour(
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
    drawn = contour(build.series(build.surface(lambda x, y: 1 + x + 0 * y, x=9, y=4)))
    paths = [np.asarray(path.vertices) for path in lines(drawn.axes[0]).get_paths()]
    assert sum(len(path) > 0 for path in paths) >= 6
    for level, path in zip(levels(drawn.axes[0]), paths, strict=True):
        assert path[:, 0] == pytest.approx(level - 1)
    assert drawn.axes[0].get_xlim() == (-1, 1)
    assert drawn.axes[0].get_ylim() == (-0.5, 0.5)


def test_steep_losses_have_logarithmic_levels(build: Build) -> None:
    there = levels(contour(build.series(build.surface(lambda x, y: np.exp(6 * x + y)))).axes[0])
    ratios = there[1:] / there[:-1]
    assert ratios.max() / ratios.min() < 2


def test_panels_wrap_after_four(build: Build) -> None:
    series = build.series(build.surface(lambda x, y: 1 + x + y)) * 6
    drawn = contour(series)
    drawn.draw_without_rendering()
    tops = [round(ax.get_position().y1, 2) for ax in drawn.axes[:6]]
    assert len(set(tops[:4])) == len(set(tops[4:])) == 1
    assert tops[4] < tops[0]
    # A column is numbered below its last panel.
    numbered = [ax.xaxis.get_tick_params()["labelbottom"] for ax in drawn.axes[:6]]
    assert numbered == [False, False, True, True, True, True]


def test_title_says_name_centre_and_what_is_missing(build: Build) -> None:
    drawn = contour(build.series(build.surface(lambda x, y: 0.25 + x**2 + y**2, done=20)))
    assert drawn.axes[0].get_title() == "standard\nloss 0.25 at the centre\npartial: 20 of 35 points"
    assert "not computed yet" in legend(drawn)


def test_the_centre_is_not_named_before_it_is_known(build: Build) -> None:
    drawn = contour(build.series(build.surface(lambda x, y: 0.25 + x**2 + y**2, done=10)))
    assert "centre" not in drawn.axes[0].get_title()


def test_the_checkpoint_has_a_cross(build: Build) -> None:
    (cross,) = contour(build.series(build.surface(lambda x, y: 1 + x + y))).axes[0].lines
    assert (xs(cross), ys(cross), cross.get_marker()) == ([0], [0], "+")


def test_labels_neither_touch_nor_leave_the_panel(build: Build) -> None:
    drawn = contour(build.series(*[build.surface(lambda x, y: 0.01 + x**2 + y**2, x=21, y=21)] * 3))
    for ax in drawn.axes[:3]:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) >= 3
        assert all(not box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
        assert all(ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 for box in boxes)


def test_a_flat_run_beside_a_steep_one_says_so(build: Build) -> None:
    drawn = contour(build.series(build.surface(lambda x, _: 0.3 + 0 * x), build.surface(lambda x, _: np.exp(6 * x))))
    assert drawn.axes[0].texts[0].get_text() == "no level between\n0.3 and 0.3"


def test_cells_that_are_not_finite_are_marked(build: Build) -> None:
    results = build.surface(lambda x, y: np.where(x > 0.9, np.inf, 1 + x + y))
    drawn = contour(build.series(results))
    (marked,) = labelled(drawn.axes[0].collections, "not finite")
    assert cells(marked).count() == 5
    assert marked.get_cmap()(0.0) == to_rgba(NOT_FINITE)


def test_nothing_finite_is_drawable(build: Build) -> None:
    contour(build.series(build.surface(lambda x, _: np.nan * x))).draw_without_rendering()
