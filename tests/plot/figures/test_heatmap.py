import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import Collection, QuadMesh
from matplotlib.colors import LogNorm

from lossviz.plot.figures.heatmap import draw_heatmap
from lossviz.plot.series import Options
from tests.plot.artists import arrows, cells, labelled, legend
from tests.plot.conftest import Build


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


def test_panels_are_square(build: Build) -> None:
    drawn = draw_heatmap(build.series(*[build.surface(lambda x, y: 1 + x + y)] * 3))
    drawn.draw_without_rendering()
    for ax in drawn.axes[:3]:
        assert ax.bbox.width == pytest.approx(ax.bbox.height, rel=1e-3)


def test_panels_of_the_same_range_share_their_numbers(build: Build) -> None:
    drawn = draw_heatmap(build.series(*[build.surface(lambda x, y: 1 + x + y)] * 2))
    left, right, _ = drawn.axes
    assert left.get_ylabel() == "y (units of d)"
    assert right.get_ylabel() == ""
    assert not right.yaxis.get_tick_params()["labelleft"]
