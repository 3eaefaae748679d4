import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_rgba_array

from lossviz.plot.figures.line import draw_line
from lossviz.plot.kit.axes import LEFT, RIGHT
from lossviz.plot.series import Options
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build


def test_loss_on_the_left_and_error_on_the_right_of_each_run(build: Build) -> None:
    runs = [build.surface(lambda x, _: 1 + x**2, y=0), build.surface(lambda x, _: 2 + x**2, y=0)]
    drawn = draw_line(build.series(*runs))
    losses, errors = drawn.axes[:2], drawn.axes[2:]
    for ax, right, results in zip(losses, errors, runs, strict=True):
        (loss,), (error,) = labelled(ax.lines, "training set"), labelled(right.lines, "training set")
        np.testing.assert_array_equal(loss.get_xdata(), results.x)
        np.testing.assert_array_equal(loss.get_ydata(), results.loss)
        np.testing.assert_array_equal(error.get_ydata(), results.error)
        assert (loss.get_color(), error.get_color()) == (LEFT.colour, RIGHT.colour)
    assert losses[0].get_ylim() == losses[1].get_ylim()
    assert errors[0].get_ylim() == errors[1].get_ylim()
    assert [ax.get_ylabel() for ax in drawn.axes] == ["loss (nats)", "", "", "error (%)"]
    assert losses[1].get_title() == "batchnorm\nloss 2 at the centre"
    assert losses[0].get_xlabel() == "x (units of d)"


def test_the_test_set_is_dashed(build: Build) -> None:
    results = build.surface(lambda x, _: 1 + x**2, y=0)
    both = results.assign(test_loss=2 * results.loss, test_error=3 * results.error)
    drawn = draw_line(build.series(both))
    for ax, name in zip(drawn.axes, ("test_loss", "test_error"), strict=True):
        (train,), (test,) = labelled(ax.lines, "training set"), labelled(ax.lines, "test set")
        np.testing.assert_array_equal(test.get_ydata(), both[name])
        assert train.get_linestyle() == "-"
        assert test.is_dashed()
        assert ax.get_ylim()[1] > both[name].max()
    assert legend(drawn) == ["training set", "test set", "checkpoint"]
    alone = draw_line(build.series(results.assign_attrs(split="test")))
    assert legend(alone) == ["test set", "checkpoint"]


def test_the_deviations_of_a_sampled_line_are_no_curves(build: Build) -> None:
    results = build.surface(lambda x, _: np.exp(5 * x), y=0)
    deviations = xr.Variable(("group", "x"), -np.ones((results.sizes["x"], results.sizes["x"])))
    drawn = draw_line(build.series(results.assign(loss_deviation=deviations, loss_pde=results.loss)))
    assert [str(line.get_label()) for line in drawn.axes[0].lines if "term" in str(line.get_label())] == ["term pde"]
    assert drawn.axes[0].get_yscale() == "log"


@pytest.mark.parametrize(("log", "scale"), [(None, "log"), (False, "linear")])
def test_steep_losses_are_logarithmic(build: Build, log: bool | None, scale: str) -> None:
    drawn = draw_line(build.series(build.surface(lambda x, _: np.exp(5 * x), y=0)), Options(log=log))
    assert [ax.get_yscale() for ax in drawn.axes] == [scale, "linear"]


def test_the_curve_joins_the_known_points_of_a_partial_scan(build: Build) -> None:
    results = build.surface(lambda x, _: np.where(x < -0.9, np.inf, 1 + x), y=0)
    known = np.array([True, False, True, False, True, True, False])
    results["loss"], results["status"] = results.loss.where(known), results.status.where(known, 0)
    drawn = draw_line(build.series(results))
    (curve,) = labelled(drawn.axes[0].lines, "training set")
    np.testing.assert_array_equal(curve.get_xdata(), results.x[known])
    np.testing.assert_array_equal(curve.get_ydata(), np.r_[np.nan, results.loss[known][1:]])
    assert curve.get_marker() == "o"
    assert [xs(each) for each in labelled(drawn.axes[0].lines, "not finite")] == [[-1]]
    assert drawn.axes[0].get_title().endswith("partial: 4 of 7 points")
    assert legend(drawn) == ["training set", "checkpoint", "not finite"]
    drawn.draw_without_rendering()


@pytest.mark.parametrize(("share", "seen"), [(0.1, True), (0.001, False)])
@pytest.mark.parametrize("log", [True, False])
def test_a_band_of_the_standard_error_is_drawn_where_it_can_be_seen(
    build: Build, share: float, seen: bool, log: bool
) -> None:
    results = build.surface(lambda x, _: np.where(x > 0.9, np.inf, 1 + x**2), y=0)
    results["loss_stderr"] = share * results.loss
    drawn = draw_line(build.series(results), Options(log=log))
    bands = [each for each in drawn.axes[0].collections if isinstance(each, FillBetweenPolyCollection)]
    assert len(bands) == seen
    assert ("± standard error" in legend(drawn)) is seen
    if seen:
        assert to_rgba_array(bands[0].get_facecolor())[0].tolist() == list(LEFT.fill)
        corners = np.asarray(bands[0].get_paths()[0].vertices)
        np.testing.assert_allclose(corners[corners[:, 0] == 0, 1], [0.9 if not log else 1, 1.1], atol=1e-12)


def test_checkpoints_lie_where_they_are_with_their_own_loss(build: Build) -> None:
    results = build.with_checkpoints(build.surface(lambda x, _: 1 + x**2, y=0), ["step 50", "a/other.pt"], [0, 0.5])
    drawn = draw_line(build.series(results))
    marks = labelled(drawn.axes[0].lines, "loss of a checkpoint itself")
    assert [(*xs(each), *ys(each)) for each in marks] == [(0, 1), (0.5, 2)]
    assert [text.get_text() for text in drawn.axes[0].texts] == ["step 50", "other"]
    path = draw_line(build.series(results.assign_attrs(trajectory=1)))
    assert not path.axes[0].texts


def test_the_name_of_a_checkpoint_lies_on_no_curve(build: Build) -> None:
    # Both curves rise right of its place; below it the panel ends.
    results = build.with_checkpoints(build.surface(lambda x, _: 1 + np.maximum(x, 0), y=0), ["step 50"], [0])
    (name,) = draw_line(build.series(results)).axes[0].texts
    assert (name.get_horizontalalignment(), name.get_verticalalignment()) == ("right", "bottom")


def test_a_regression_has_no_axis_of_errors(build: Build) -> None:
    results = build.surface(lambda x, _: 1 + x**2, y=0)
    results["error"][:] = np.nan
    (ax,) = draw_line(build.series(results)).axes
    assert ax.get_ylabel() == "loss (nats)"


def test_a_clip_is_for_the_eye_only(build: Build) -> None:
    results = build.surface(lambda x, _: 1 + 9 * x**2, y=0)
    loss = draw_line(build.series(results), Options(clip=(0.0, 4.0))).axes[0]
    assert np.max(loss.lines[0].get_ydata()) == 4
    assert float(results.loss.max()) == 10
    assert "clipped to [0, 4]" in loss.get_ylabel()


def test_four_runs_make_two_even_rows(build: Build) -> None:
    drawn = draw_line(build.series(build.surface(lambda x, _: 1 + x, y=0)) * 4)
    assert [bool(ax.get_xlabel()) for ax in drawn.axes[:4]] == [False, False, True, True]
    assert [bool(ax.get_ylabel()) for ax in drawn.axes] == [True, False, True, False, False, True, False, True]


def test_terms_of_the_loss_are_dotted_and_named(build: Build) -> None:
    results = build.surface(lambda x, _: 1 + x**2, y=0)
    given = results.assign(loss_pde=4 * results.loss, loss_pde_stderr=results.loss)
    (ax, _) = draw_line(build.series(given)).axes
    (curve,) = labelled(ax.lines, "term pde")
    np.testing.assert_array_equal(curve.get_ydata(), given.loss_pde)
    assert curve.get_linestyle() == ":"
    assert "pde" in [text.get_text() for text in ax.texts]
    assert ax.get_ylim()[1] > given.loss_pde.max()
