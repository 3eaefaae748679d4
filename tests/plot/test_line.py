import numpy as np
import pytest

from lossviz.plot.line import line
from tests.plot.artists import labelled, legend, xs
from tests.plot.conftest import Build


def test_loss_and_error_of_all_runs(build: Build) -> None:
    runs = [build.surface(lambda x, _, base=base: base + x**2, y=0) for base in (1.0, 2.0)]  # type: ignore[misc]
    loss, error = line(build.series(*runs)).axes
    for curve, results in zip(loss.lines, runs, strict=False):
        np.testing.assert_array_equal(curve.get_xdata(), results.x)
        np.testing.assert_array_equal(curve.get_ydata(), results.loss)
    np.testing.assert_array_equal(error.lines[1].get_ydata(), runs[1].error)
    assert loss.get_xlabel() == "steps of the x direction"
    assert loss.get_yscale() == "linear"


@pytest.mark.parametrize(("log", "scale"), [(None, "log"), (False, "linear")])
def test_steep_losses_are_logarithmic(build: Build, log: bool | None, scale: str) -> None:
    drawn = line(build.series(build.surface(lambda x, _: np.exp(5 * x), y=0)), log=log)
    assert drawn.axes[0].get_yscale() == scale


def test_missing_and_not_finite_points(build: Build) -> None:
    results = build.surface(lambda x, _: np.where(x < -0.9, np.inf, 1 + x), y=0, done=5)
    drawn = line(build.series(results))
    assert [xs(each) for each in labelled(drawn.axes[0].lines, "not finite")] == [[-1]]
    assert legend(drawn) == ["standard (partial: 5 of 7 points)", "checkpoint", "not finite"]
    drawn.draw_without_rendering()


def test_a_clip_is_for_the_eye_only(build: Build) -> None:
    results = build.surface(lambda x, _: 1 + 9 * x**2, y=0)
    loss = line(build.series(results), clip=(0.0, 4.0)).axes[0]
    assert np.max(loss.lines[0].get_ydata()) == 4
    assert float(results.loss.max()) == 10
    assert "clipped to [0, 4]" in loss.get_ylabel()
