import numpy as np
import pytest

from lossviz.plot.figures.training import FIGURES, draw_training
from lossviz.plot.series import DEFAULT, Options, plotted_runs
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build


def test_curves_are_the_numbers_of_the_file(build: Build) -> None:
    results = build.train()
    drawn = draw_training(build.series(results, results))
    accuracy, error, loss = drawn.axes
    np.testing.assert_array_equal(accuracy.lines[0].get_ydata(), results.accuracy)
    for ax, quantity in ((error, "error"), (loss, "loss")):
        for split in ("train", "val"):
            (curve,) = labelled(ax.lines, f"batchnorm {split}")
            np.testing.assert_array_equal(curve.get_xdata(), results.eval_step)
            np.testing.assert_array_equal(curve.get_ydata(), results[f"{split}_{quantity}"])
        thin, bold = (labelled(ax.lines, f"batchnorm {split}")[0].get_linewidth() for split in ("train", "val"))
        assert bold > thin
    assert legend(drawn)[:2] == ["standard", "batchnorm"]
    assert loss.get_yscale() == "log"


def test_the_loss_is_linear_on_request(build: Build) -> None:
    assert draw_training(build.series(build.train()), Options(log=False)).axes[2].get_yscale() == "linear"


def test_short_trainings_are_not_smoothed(build: Build) -> None:
    results = build.train(steps=50, recorded=50)
    (curve,) = draw_training(build.series(results)).axes[0].lines
    np.testing.assert_array_equal(curve.get_ydata(), results.accuracy)


def test_a_divergence_is_marked_where_each_curve_ends(build: Build) -> None:
    results = build.train(recorded=88, diverged_at=87)
    results.val_loss[-1] = np.inf
    drawn = draw_training(build.series(results, build.train()))
    assert legend(drawn)[0] == "standard (diverged at step 87)"
    crosses = labelled(drawn.axes[2].lines, "diverged")
    assert [xs(each) for each in crosses] == [[75], [50]]
    assert [ys(each) for each in crosses] == [[float(results.train_loss[3])], [float(results.val_loss[2])]]
    assert all(each.get_marker() == "X" for each in crosses)
    # The last validation loss is infinite: no point, but a mark.
    assert [xs(each) for each in labelled(drawn.axes[2].lines, "not finite")] == [[75]]
    assert "not finite" in legend(drawn)


def test_a_partial_training_says_so_and_leaves_room_for_the_rest(build: Build) -> None:
    drawn = draw_training(build.series(build.train(recorded=120)))
    assert legend(drawn)[0] == "standard (partial: 120 of 200 steps)"
    assert drawn.axes[0].get_xlim()[1] > 200


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_no_value_breaks_the_axes(build: Build, bad: float) -> None:
    results = build.train()
    for name in ("accuracy", "train_loss", "val_loss", "val_error"):
        results[name][:] = bad
    drawn = draw_training(build.series(results))
    drawn.draw_without_rendering()
    assert np.isfinite([ax.get_ylim() for ax in drawn.axes]).all()


def test_a_training_that_was_evaluated_only(build: Build) -> None:
    results = build.train().isel(step=slice(0), eval_step=slice(1))
    drawn = draw_training(build.series(results))
    drawn.draw_without_rendering()
    # A single point shows by its marker only.
    assert labelled(drawn.axes[1].lines, "standard val")[0].get_marker() == "o"


def test_a_regression_has_a_loss_only(build: Build) -> None:
    results = build.train()
    regression = results.assign({name: np.nan * results[name] for name in ("accuracy", "train_error", "val_error")})
    for name in ("train_loss", "val_loss"):
        regression[name].attrs["units"] = "1"
    drawn = draw_training(build.series(regression, regression))
    (loss,) = drawn.axes
    np.testing.assert_array_equal(labelled(loss.lines, "standard val")[0].get_ydata(), results.val_loss)
    assert (loss.get_ylabel(), loss.get_yscale()) == ("loss", "log")
    assert legend(drawn) == ["standard", "batchnorm", "training set", "validation set"]
    assert len(draw_training(build.series(regression, results)).axes) == 3


def test_what_the_evaluations_of_noisy_batchnorm_do_not_mean_is_said_below(build: Build) -> None:
    runs = [
        build.run(name, settings=[f"model.norm={norm}"], train=build.train())
        for name, norm in (("noisy", "noisy-batch"), ("batchnorm", "batch"))
    ]
    (make,) = FIGURES[0].drawings(plotted_runs(runs), DEFAULT).values()
    note = make().legends[1].get_title().get_text().replace("\n", " ")
    assert note.startswith("noisy: evaluated without its noise, by running statistics")
    (make,) = FIGURES[0].drawings(plotted_runs(runs[1:]), DEFAULT).values()
    assert make().legends[1].get_title().get_text() == ""


def test_where_the_training_set_was_not_evaluated_the_minibatches_have_their_loss(build: Build) -> None:
    results = build.train().drop_vars(["train_loss", "train_error"])
    drawn = draw_training(build.series(results))
    (raw,), (mean,) = labelled(drawn.axes[2].lines, "raw"), labelled(drawn.axes[2].lines, "standard")
    np.testing.assert_array_equal(raw.get_ydata(), results.loss)
    assert ys(mean)[100] == pytest.approx(float(results.loss[96:104].mean()))  # 200 // 25 = 8 steps
    key = ["(a, c) each minibatch", "(a, c) mean over 8 steps", "(b, c) validation set"]
    assert legend(drawn) == ["standard", *key]
    usual = ["(a) each minibatch", "(a) mean over 8 steps", "(b, c) training set", "(b, c) validation set"]
    assert legend(draw_training(build.series(build.train()))) == ["standard", *usual]


def test_what_was_not_recorded_is_neither_drawn_nor_not_finite(build: Build) -> None:
    results = build.train()
    seldom, due = results.accuracy.values.copy(), np.arange(200) % 10 == 0
    seldom[~due], seldom[100] = np.nan, np.nan
    given = results.assign(accuracy=("step", seldom), recorded_accuracy=("step", due.astype(np.int8)))
    (curve,) = labelled(draw_training(build.series(given)).axes[0].lines, "standard")
    assert xs(curve) == list(range(0, 200, 10))  # a mean over 8 steps is one value
    marks = labelled(draw_training(build.series(given)).axes[0].lines, "not finite")
    assert [xs(each) for each in marks] == [[100]]


def test_the_key_says_over_how_many_steps_a_mean_is(build: Build) -> None:
    results = build.train().drop_vars(["train_loss", "train_error"])
    at_50, at_7 = (results.isel(step=slice(0, None, each)).assign_attrs(steps=10_000) for each in (50, 7))
    drawn = draw_training(build.series(at_50.assign_coords(step=50 * np.arange(4)), at_7))
    key = ["(a, c) each minibatch", "(a, c) mean over 399 or 400 steps", "(b, c) validation set"]
    assert legend(drawn)[2:] == key
    short = results.isel(step=slice(0, 50)).assign_attrs(steps=50)
    assert legend(draw_training(build.series(short)))[1:] == ["(b, c) validation set", "(c) minibatches"]


def test_a_regression_beside_a_classification_has_no_accuracy(build: Build) -> None:
    results = build.train()
    regression = results.assign({name: np.nan * results[name] for name in ("accuracy", "train_error", "val_error")})
    drawn = draw_training(build.series(regression, results))
    assert not labelled(drawn.axes[0].lines, "not finite")
    assert not labelled(drawn.axes[1].lines, "not finite")


def test_terms_of_the_loss_are_dotted_and_named(build: Build) -> None:
    results = build.train()
    given = results.assign(val_loss_pde=5 * results.val_loss, train_loss_pde=results.val_loss)
    loss = draw_training(build.series(given)).axes[2]
    (curve,) = labelled(loss.lines, "pde")
    np.testing.assert_array_equal(curve.get_ydata(), given.val_loss_pde)
    assert curve.get_linestyle() == ":"
    assert [text.get_text() for text in loss.texts].count("pde") == 1
    assert loss.get_ylim()[1] > given.val_loss_pde.max()
