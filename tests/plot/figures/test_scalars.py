import numpy as np
import pytest
import xarray as xr

from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from lossviz.plot.figures.scalars import draw_scalars, scalars
from lossviz.probe.measures.batch_sharpness import MEASURE
from lossviz.results import ProbeResults, variable
from tests.plot.artists import labelled, xs, ys
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
    critical, new = draw_scalars(build.series(results)).axes
    assert critical.get_title(loc="left") == "(a) critical sharpness"
    (line,) = labelled(critical.lines, "standard")
    np.testing.assert_array_equal(ys(line), rising)
    assert (critical.get_yscale(), new.get_yscale()) == ("linear", "log")
    assert " ".join(new.get_ylabel().split()) == "of_next_year in words (nat)"


def test_a_label_has_the_signs_of_mathematics(build: Build) -> None:
    results = probe(build, batch_sharpness=np.ones(20))
    results.batch_sharpness.attrs["long_name"] = MEASURE.variables["batch_sharpness"].long_name
    (ax,) = draw_scalars(build.series(results)).axes
    assert " ".join(ax.get_ylabel().split()) == "mean of gᵀHg / ‖g‖² over minibatches (nat)"


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
