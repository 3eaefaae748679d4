import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba_array

from lossviz.plot.figures.trajectory import draw_trajectory
from lossviz.plot.kit.style import NOT_FINITE
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build

X, Y = [0.9, 0.5, 0.2, 0.0], [0.3, 0.4, 0.2, 0.0]


def path(build: Build, **checkpoint: list[float]) -> xr.Dataset:
    plane = build.surface(lambda x, y: 1 + x**2 + y**2, x=21, y=21)
    results = build.with_checkpoints(plane, [f"step {step}" for step in (0, 50, 100, 200)], X, Y)
    results = results.assign({f"checkpoint_{name}": ("checkpoint", each) for name, each in checkpoint.items()})
    return results.assign_attrs(trajectory=1, x_explained_variance=0.6, y_explained_variance=0.25)


def test_the_path_goes_through_the_checkpoints(build: Build) -> None:
    plane, *_ = draw_trajectory(build.series(path(build))).axes
    (line,) = labelled(plane.lines, "path")
    assert (xs(line), ys(line)) == (X, Y)
    assert {text.get_text() for text in plane.texts} >= {"step 0", "step 50", "step 100", "step 200"}
    assert plane.get_xlabel().endswith("60.0% of the variance")
    assert plane.get_ylabel().endswith("25.0% of the variance")


def test_a_checkpoint_has_the_colour_of_its_own_loss(build: Build) -> None:
    drawn = draw_trajectory(build.series(path(build, loss=[4.0, 1.3, 1.3, np.inf])))
    marks = labelled(drawn.axes[0].lines, "checkpoint")
    first, second, third, last = (to_rgba_array(mark.get_markerfacecolor())[0].tolist() for mark in marks)
    fill = next(each for each in drawn.axes[0].collections if getattr(each, "filled", False))
    high, low = fill.to_rgba(np.array([4.0, 1.3])).tolist()
    assert first == pytest.approx(high)
    assert second == third == pytest.approx(low)
    assert first != second
    assert last == to_rgba_array(NOT_FINITE)[0].tolist()
    # The scale of the contours holds the losses of the checkpoints, which may be higher than all of the plane.
    assert (fill.get_clim()[1] or 0) >= 4


def test_own_loss_loss_of_the_projection_and_distance_by_step(build: Build) -> None:
    drawn = draw_trajectory(build.series(path(build)))
    axes = {ax.get_ylabel(): ax for ax in drawn.axes[1:]}
    left = drawn.axes[1]
    (own,), (projected,) = (labelled(left.lines, f"loss of {what}") for what in ("the checkpoint", "its projection"))
    assert (xs(own), ys(own)) == ([0, 50, 100, 200], [1, 2, 3, 4])
    assert ys(projected) == [0.5, 1, 1.5, 2]
    assert projected.is_dashed()
    (distance,) = labelled(axes["distance from the plane"].lines, "distance")
    assert ys(distance) == [0, 1, 2, 3]
    assert left.get_xlabel() == "step"
    assert "loss of its projection" in legend(drawn)


def test_rows_of_runs_have_the_same_scales(build: Build) -> None:
    drawn = draw_trajectory(build.series(path(build), path(build, loss=[50.0, 3, 2, 1], distance=[9.0, 9, 9, 0])))
    truths = [ax for ax in drawn.axes if labelled(ax.lines, "loss of the checkpoint")]
    rights = [ax for ax in drawn.axes if labelled(ax.lines, "distance")]
    assert len(truths) == len(rights) == 2
    assert truths[0].get_ylim() == truths[1].get_ylim()
    assert rights[0].get_ylim() == rights[1].get_ylim()
    assert truths[0].get_yscale() == "log"


def test_checkpoints_beyond_the_plane_are_counted(build: Build) -> None:
    ax = draw_trajectory(build.series(path(build, x=[3.0, 0.5, 0.2, 0]))).axes[0]
    assert ax.get_title().endswith("1 of 4 checkpoints beyond the plane")
    assert ax.get_xlim() == (-1, 1)


def test_names_without_steps_are_numbered(build: Build) -> None:
    results = path(build).assign_coords(checkpoint=["a.pt", "b.pt", "c.pt", "d.pt"])
    right = draw_trajectory(build.series(results)).axes[1]
    (own,) = labelled(right.lines, "loss of the checkpoint")
    assert (xs(own), right.get_xlabel()) == ([0, 1, 2, 3], "checkpoint")


def test_the_path_is_in_the_order_of_the_training_and_another_network_is_apart(build: Build) -> None:
    """The file begins with the scan's own checkpoint, then has what a direction leads to."""
    names = ["step 200", "other/best.pt", "step 0", "step 50"]
    results = path(build, x=[0.1, 0.7, 0.9, 0.5], loss=[1.0, 9.0, 3.0, 2.0]).assign_coords(checkpoint=names)
    drawn = draw_trajectory(build.series(results))
    plane, right = drawn.axes[:2]
    (line,), (other,) = labelled(plane.lines, "path"), labelled(plane.lines, "other checkpoint")
    assert (xs(line), xs(other)) == ([0.9, 0.5, 0.1], [0.7])
    (own,) = labelled(right.lines, "loss of the checkpoint")
    assert (xs(own), ys(own)) == ([0, 50, 200], [3, 2, 1])
    assert right.get_ylim()[1] < 9, "the loss of the other network is not drawn"
    assert "other checkpoint" in legend(drawn)
    assert "other checkpoint" not in legend(draw_trajectory(build.series(path(build))))


def test_the_path_of_principal_components_has_all_checkpoints(build: Build) -> None:
    names = ["step 200", "step 0", "step 50", "x/step-00000100.pt"]
    results = path(build).assign_coords(checkpoint=names)
    pca = results.assign_attrs(configuration="surface: {directions: {kind: pca}}")
    (own,) = labelled(draw_trajectory(build.series(pca)).axes[1].lines, "loss of the checkpoint")
    assert xs(own) == [0, 50, 100, 200]
    # Of other directions the steps of the run; its last one may be the scan's checkpoint by the name of its file.
    (own,) = labelled(draw_trajectory(build.series(results)).axes[1].lines, "loss of the checkpoint")
    assert xs(own) == [0, 50, 200]
    named = results.assign_attrs(checkpoint=names[3])
    (own,) = labelled(draw_trajectory(build.series(named)).axes[1].lines, "loss of the checkpoint")
    assert xs(own) == [0, 50, 100, 200]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_value_breaks_the_figure(build: Build, bad: float) -> None:
    results = path(build, loss=[bad] * 4, plane_loss=[bad] * 4, distance=[bad] * 4)
    drawn = draw_trajectory(build.series(results))
    drawn.draw_without_rendering()
    assert "not finite" in legend(drawn)


@pytest.mark.parametrize("stderr", [0.0, 0.1])
def test_contours_of_a_sampled_plane_that_are_not_sure_are_in_the_key(build: Build, stderr: float) -> None:
    results = path(build)
    results["loss_deviation"] = ("y", "x", "group"), np.full((21, 21, 32), stderr / 32**0.5)
    results["loss_stderr"] = xr.full_like(results.loss, stderr)
    assert ("uncertain contour" in legend(draw_trajectory(build.series(results)))) == (stderr > 0)
