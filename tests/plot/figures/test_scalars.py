import numpy as np
import pytest
import xarray as xr

from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from lossviz.plot.figures.scalars import draw_scalars, draw_sharpness, scalars
from lossviz.plot.kit.style import KEY, look
from lossviz.probe.measures.batch_sharpness import MEASURE
from lossviz.results import ProbeResults, variable
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build, configuration


def probe(build: Build, steps: int = 20, *settings: str, **values: np.ndarray) -> xr.Dataset:
    """A probe with some quantities of one number a step, beside those that every probe has and one of each length."""
    results = build.probe(steps=range(steps), planned=steps)
    every = {"loss": np.ones(steps), "grad_norm": np.ones(steps), **values}
    found = {name: variable("step", each, f"{name} in words", "nat") for name, each in every.items()}
    return results.assign(found).assign_attrs(configuration=configuration(*settings))


def test_each_measure_has_a_panel_and_what_every_probe_has_does_not(build: Build) -> None:
    rising = 1.0 + np.arange(20)
    results = probe(build, critical_sharpness=rising, of_next_year=rising**3)
    assert scalars(ProbeResults(results)) == ["critical_sharpness", "of_next_year"]
    assert scalars(ProbeResults(results.assign(lr=results.loss))) == ["critical_sharpness", "of_next_year"]
    critical, new = draw_scalars(build.series(results)).axes
    assert critical.get_title(loc="left") == "(a) critical sharpness"
    (line,) = labelled(critical.lines, "standard")
    np.testing.assert_array_equal(ys(line), rising)
    assert (critical.get_yscale(), new.get_yscale()) == ("linear", "log")
    assert " ".join(new.get_ylabel().split()) == "of_next_year in words (nats)"


def test_a_label_has_the_signs_of_mathematics(build: Build) -> None:
    results = probe(build, batch_sharpness=np.ones(20))
    results.batch_sharpness.attrs["long_name"] = MEASURE.variables["batch_sharpness"].long_name
    (ax,) = draw_scalars(build.series(results)).axes
    assert " ".join(ax.get_ylabel().split()) == "mean of gᵀHg / ‖g‖² over minibatches (nats)"


def test_the_edge_of_the_step_is_that_of_all_optimisers_and_of_minibatches_that_of_plain_sgd(build: Build) -> None:
    values = {"critical_sharpness": np.full(20, 10.0), "batch_sharpness": np.full(20, 15.0)}
    plain = probe(build, 20, **values)
    momentum = probe(build, 20, "train.momentum=0.9", **values)
    drawn = draw_scalars(build.series(plain, momentum))
    critical, batch = drawn.axes
    assert [ys(line) for line in labelled(critical.lines, "2/η")] == [[20, 20]]
    assert [ys(line) for line in labelled(batch.lines, "2/η")] == [[20, 20]]
    assert drawn.legends[1].get_title().get_text().startswith("batchnorm: no edge of the batch sharpness is drawn;")
    alone = draw_scalars(build.series(momentum)).axes
    assert [len(labelled(ax.lines, "2/η")) for ax in alone] == [1, 0]


def test_an_infinite_value_is_marked(build: Build) -> None:
    values = np.ones(20)
    values[4] = np.inf
    (ax,) = draw_scalars(build.series(probe(build, critical_sharpness=values))).axes
    assert xs(labelled(ax.lines, "not finite")[0]) == [4]


def test_the_noise_scale_is_averaged_before_it_is_divided(build: Build) -> None:
    rng = np.random.default_rng(0)
    variance, signal = np.full(400, 6.0), 2 + 3 * rng.normal(size=400)
    values = {"gradient_noise_scale": variance / signal, "gradient_variance": variance, "gradient_signal": signal}
    (ax,) = draw_scalars(build.series(probe(build, 400, **values))).axes
    (line,) = labelled(ax.lines, "standard")
    middle = signal[192:208]  # 16 values around step 200
    assert ys(line)[200] == pytest.approx(6 / middle.mean(), rel=1e-12)
    assert abs(ys(line)[200] - 3) < 0.3 * abs((variance / signal)[192:208].mean() - 3)


def test_what_is_missing_is_named_with_its_command(build: Build) -> None:
    run = build.run(probe=build.probe(), train=build.train())
    with pytest.raises(
        RequestError, match=r"no critical-sharpness in probe\.nc, or nothing in it yet; made by: lossviz probe"
    ):
        draw([run], figures=["scalars"])
    assert not any(path.name.startswith("scalars") for path in draw([run]))


def test_the_largest_is_bold_and_the_others_are_thin(build: Build) -> None:
    results = build.layered()
    drawn = draw_sharpness(build.series(results))
    bold, thin = labelled(drawn.axes[0].lines, "standard")
    np.testing.assert_array_equal(bold.get_ydata(), results.hessian_eigenvalue.sel(rank=1))
    np.testing.assert_array_equal(thin.get_ydata(), results.hessian_eigenvalue.sel(rank=2))
    assert bold.get_linewidth() > 2 * thin.get_linewidth()
    assert legend(drawn) == ["standard", "largest", "second"]


def with_training(results: xr.Dataset, *settings: str) -> xr.Dataset:
    return results.assign_attrs(configuration=configuration(*(f"train.{each}" for each in settings)))


def test_the_edge_of_stability_is_drawn_once_for_each_learning_rate(build: Build) -> None:
    series = build.series(build.layered(), build.layered(), build.layered())
    ax = draw_sharpness(series).axes[0]
    (edge,) = labelled(ax.lines, "2/η")
    assert (ys(edge), edge.get_color(), edge.get_linestyle()) == ([20, 20], KEY, "--")
    assert [text.get_text() for text in ax.texts] == ["2/η = 20"]
    series[2] = series[2].with_results(with_training(build.layered(), "lr=0.001"))
    ax = draw_sharpness(series).axes[0]
    edges = {ys(line)[0]: line.get_color() for line in labelled(ax.lines, "2/η")}
    assert edges == {2000: look(2).colour, 20: KEY}
    assert ax.get_ylim()[1] > 2000


def test_the_edge_is_that_of_the_optimiser(build: Build) -> None:
    heavy, nesterov, adam = (
        with_training(build.layered(), *settings)
        for settings in (["momentum=0.9"], ["momentum=0.9", "nesterov=true"], ["optimizer=adam"])
    )
    drawn = draw_sharpness(build.series(heavy, nesterov, adam))
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts == ["2(1+β)/η = 38", "2(1+β)/(η(1+2β)) = 13.57"]
    note = drawn.legends[1].get_title().get_text()
    assert note.replace("\n", " ").startswith("noisy: no edge is drawn. That of Adam, 38/η for β₁ = 0.9")


def test_the_edge_follows_the_schedule(build: Build) -> None:
    results = with_training(build.layered(steps=[0, 99, 100, 200]), "schedule={kind: step, milestones: [100]}")
    ax = draw_sharpness(build.series(results)).axes[0]
    (edge,) = labelled(ax.lines, "2/η")
    np.testing.assert_allclose(ys(edge), [20, 20, 200, 200])
    assert [text.get_text() for text in ax.texts] == ["2/ηₜ"]


def test_an_edge_that_rises_to_infinity_does_not_flatten_the_eigenvalues(build: Build) -> None:
    results = with_training(build.layered(steps=[0, 100, 199]), "schedule={kind: cosine}")
    assert draw_sharpness(build.series(results)).axes[0].get_ylim()[1] < 1000


@pytest.mark.parametrize(("steps", "scale"), [(range(0, 10), "linear"), (range(0, 200), "log")])
def test_a_wide_range_is_logarithmic(build: Build, steps: range, scale: str) -> None:
    results = build.layered(steps=steps).isel(rank=[0])
    results["hessian_eigenvalue"] = 4 + results.hessian_eigenvalue
    assert draw_sharpness(build.series(results)).axes[0].get_yscale() == scale


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_no_eigenvalue_breaks_the_axes(build: Build, bad: float) -> None:
    drawn = draw_sharpness(build.series(xr.full_like(build.layered(steps=[0, 5]), bad)))
    drawn.draw_without_rendering()
    ax = drawn.axes[0]
    assert np.isfinite(ax.get_ylim()).all()
    if not np.isfinite(bad):
        assert xs(labelled(ax.lines, "not finite")[0]) == [0, 5]
