from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lossviz.config import read
from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from lossviz.plot.figures.landscape import draw_landscape
from lossviz.plot.figures.training import draw_training
from lossviz.plot.kit.style import look
from lossviz.plot.published.curves import published
from lossviz.plot.series import Options, Series
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build

SANTURKAR = "Santurkar et al. 2018"
CIFAR = ["data={name: cifar10}"]


@pytest.mark.parametrize(
    ("figure", "variant", "settings", "quantities"),
    [
        ("training", "standard", [], {"accuracy", "val_error"}),
        ("training", "standard", ["train.lr=0.5"], {"accuracy", "val_error"}),
        ("training", "noisy", [], {"accuracy"}),
        ("training", "noisy", ["train.lr=0.5"], set()),
        ("training", "standard", ["train.lr=0.05"], set()),
        ("training", "standard", ["data={name: digits}"], set()),
        ("training", "standard", ["data.augment=crop-flip"], set()),
        ("training", "standard", ["model.norm=noise"], set()),
        ("training", "standard", ["model={name: resnet}"], set()),
        ("training", "standard", ["train.optimizer=adam"], set()),
        ("training", "standard", ["train.schedule={kind: cosine}"], set()),
        ("landscape", "standard", [], {"loss", "grad_distance", "smoothness"}),
        ("landscape", "standard", ["train.lr=0.5"], set()),
        ("landscape", "standard", ["probe.lengths=[0.05, 0.2]"], set()),
        ("landscape", "noisy", [], set()),
    ],
)
def test_a_run_has_the_curves_of_what_it_is(
    figure: str, variant: str, settings: list[str], quantities: set[str]
) -> None:
    config = read("quickstart", [*CIFAR, *settings], [variant])[0]
    assert set(published(figure, config)) == quantities


def test_the_numbers_are_those_of_the_paper() -> None:
    batch = read("quickstart", CIFAR, ["batchnorm"])[0]
    # Section A.1: 83 % with BatchNorm, 80 % without.
    assert published("training", batch)["val_error"].edges[0][-1] == pytest.approx(17, abs=0.2)
    standard = read("quickstart", CIFAR, ["standard"])[0]
    assert published("training", standard)["val_error"].edges[0][-1] == pytest.approx(20, abs=0.2)
    low, high = published("landscape", standard)["loss"].edges
    assert (low <= high).all()
    assert high.max() == pytest.approx(9.67, abs=0.01)
    assert published("landscape", standard)["grad_distance"].edges[1].max() == pytest.approx(254.9, abs=0.1)


def with_curves(build: Build, figure: str) -> Series:
    config = read("quickstart", CIFAR, ["standard"])[0]
    results = build.train(steps=2000, recorded=2000) if figure == "training" else build.probe(steps=range(0, 5001, 100))
    return Series("standard", look(0), results, published=published(figure, config))


def dotted(ax: Axes) -> list[Line2D]:
    return labelled(ax.lines, SANTURKAR)


def test_training_has_the_published_accuracy_and_test_error(build: Build) -> None:
    series = with_curves(build, "training")
    drawn = draw_training([series])
    accuracy, error, loss = drawn.axes
    assert [len(dotted(ax)) for ax in (accuracy, error, loss)] == [1, 1, 0]
    assert ys(dotted(error)[0]) == list(series.published["val_error"].edges[0])
    # 2000 steps are averaged over 80, less than the 100 between published points: those stay as they are.
    step, (values,) = series.published["accuracy"].step, series.published["accuracy"].edges
    (line,) = dotted(accuracy)
    np.testing.assert_allclose(np.interp(step, xs(line), ys(line)), values, atol=0.3)
    assert f"{SANTURKAR} (b: test set)" in legend(drawn)
    assert accuracy.get_xlim()[1] < 2100


def test_the_published_accuracy_is_averaged_like_the_run_beside_it(build: Build) -> None:
    series = with_curves(build, "training")
    series.results.attrs["steps"] = 15000
    (line,) = dotted(draw_training([series]).axes[0])
    # The published points themselves, over windows of 1000 steps: 33.3, 58.3, 77.6, 84.5, 90.5 %.
    means = [np.mean([y for x, y in zip(xs(line), ys(line), strict=True) if k <= x / 1000 < k + 1]) for k in range(5)]
    assert means == pytest.approx([33.3, 58.3, 77.6, 84.5, 90.5], abs=3)
    assert np.std(np.diff(ys(line))) < 0.4 * np.std(np.diff(series.published["accuracy"].edges[0]))


def test_landscape_has_published_edges_within_its_own_steps(build: Build) -> None:
    series = with_curves(build, "landscape")
    drawn = draw_landscape([series])
    loss, gradient, smoothness = drawn.axes
    assert [len(dotted(ax)) for ax in drawn.axes] == [2, 2, 1]
    assert [ys(line) for line in dotted(gradient)] == [list(edge) for edge in series.published["grad_distance"].edges]
    assert loss.get_xlim()[1] < 5200
    # The peak at step 2500 is inside; the lowest loss, at step 15000, does not stretch the axis.
    assert loss.get_ylim()[0] > 0.9
    assert gradient.get_ylim()[1] > 254
    assert smoothness.get_ylim()[1] > 45
    assert SANTURKAR in legend(drawn)


def test_curves_are_drawn_on_request_only(build: Build) -> None:
    run = build.run("batchnorm", settings=CIFAR, train=build.train())
    plain, overlaid = (
        draw([run], formats=["svg"], options=Options(reference=wanted))[0].read_text() for wanted in (False, True)
    )
    assert SANTURKAR not in plain
    assert SANTURKAR in overlaid


def test_when_nothing_fits_the_conditions_are_named(build: Build, tmp_path: Path) -> None:
    run = build.run(train=build.train())
    with pytest.raises(RequestError) as error:
        draw([run], folder=tmp_path / "figures", options=Options(reference=True))
    assert f"{SANTURKAR}: data cifar10" in str(error.value)
    assert "model.norm none or batch at train.lr 0.1 or 0.5, noisy-batch at 0.1" in str(error.value)
    assert not (tmp_path / "figures").exists()
