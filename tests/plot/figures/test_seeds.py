import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import FillBetweenPolyCollection

from lossviz.config import read
from lossviz.config.reading import dump
from lossviz.plot.figures.seeds import draw_seeds, seed_groups
from lossviz.plot.series import Options, Series, plotted_runs
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build


def draw_of(
    build: Build, seed: int, slope: float = 1.0, settings: tuple[str, ...] = (), **attributes: str
) -> xr.Dataset:
    """A line with the protocol of a random direction."""
    wanted = [f"surface.name=s{seed}", "surface.y=null", f"surface.directions.seed={seed}", *settings]
    results = build.surface(lambda x, _: 1 + slope * abs(x), x=5, y=0)
    return results.assign_attrs(configuration=dump(read("quickstart", wanted, ["standard"])[0]), **attributes)


def grouped(build: Build, **files: xr.Dataset) -> dict[str, list[Series]]:
    return seed_groups(plotted_runs([build.run("standard", "quickstart", (), **files)]))


def test_lines_that_differ_in_their_seed_only_belong_together(build: Build) -> None:
    lines = {f"s{seed}": draw_of(build, seed, slope=seed) for seed in (1, 2, 3)}
    other = draw_of(build, 4, settings=("surface.directions.normalize=layer",))
    plane = build.surface(lambda x, y: 1 + x + y).assign_attrs(lines["s1"].attrs)
    old = build.surface(lambda x, _: x, y=0)
    ((stem, (series,)),) = grouped(build, **lines, other=other, plane=plane, old=old).items()
    assert stem == "surface-s1"
    np.testing.assert_array_equal(series.results.seed, [1, 2, 3])
    np.testing.assert_array_equal(series.results.loss, [lines[f"s{seed}"].loss for seed in (1, 2, 3)])
    assert series.legend == "standard (3 directions)"


def test_the_legend_says_what_is_not_usual_of_the_protocol(build: Build) -> None:
    lines = {f"s{seed}": draw_of(build, seed, split="test", batch_norm="recalibrate") for seed in (1, 2)}
    ((series,),) = grouped(build, **lines).values()
    assert legend(draw_seeds([series]))[0] == "standard (2 directions, test set, BatchNorm: recalibrate)"
    usual = {f"s{seed}": draw_of(build, seed, split="train", batch_norm="frozen") for seed in (1, 2)}
    ((series,),) = seed_groups(plotted_runs([build.run("noisy", "quickstart", (), **usual)])).values()
    assert series.legend == "noisy (2 directions)"


def test_lines_of_two_checkpoints_are_not_averaged(build: Build) -> None:
    assert not grouped(build, a=draw_of(build, 1, checkpoint_sha256="a"), b=draw_of(build, 2, checkpoint_sha256="b"))


def test_a_second_checkpoint_and_another_protocol_have_figures_of_their_own(build: Build) -> None:
    twice = {f"{sha}{seed}": draw_of(build, seed, checkpoint_sha256=sha) for sha in "ab" for seed in (1, 2)}
    assert {stem: len(series) for stem, series in grouped(build, **twice).items()} == {"surface-a1": 1, "surface-b1": 1}
    early, late = (
        [draw_of(build, seed, settings=(f"surface.checkpoint={step}",), checkpoint_sha256=step) for seed in (1, 2)]
        for step in ("100", "200")
    )
    whole = build.run("standard", "two", a1=early[0], a2=early[1], b1=late[0], b2=late[1])
    figures = seed_groups(plotted_runs([whole, build.run("noisy", "two", b1=late[0], b2=late[1])]))
    assert {stem: len(series) for stem, series in figures.items()} == {"surface-a1": 1, "surface-b1": 2}
    other = [draw_of(build, seed, settings=("surface.data.examples=7",)) for seed in (1, 2)]
    runs = [
        build.run("noisy", a1=draw_of(build, 1), a2=draw_of(build, 2)),
        build.run("batchnorm", a1=other[0], a2=other[1]),
    ]
    assert list(seed_groups(plotted_runs(runs))) == ["surface-a1", "surface-a1-2"]


def test_the_same_seed_counts_once(build: Build) -> None:
    assert not grouped(build, a=draw_of(build, 1), b=draw_of(build, 1))


def test_runs_share_a_figure(build: Build) -> None:
    runs = [build.run(name, s1=draw_of(build, 1), s2=draw_of(build, 2)) for name in ("standard", "batchnorm")]
    ((stem, series),) = seed_groups(plotted_runs(runs)).items()
    assert (stem, [each.label for each in series]) == ("surface-s1", ["standard", "batchnorm"])


def test_mean_standard_deviation_and_every_line(build: Build) -> None:
    lines = [draw_of(build, seed, slope=slope) for seed, slope in ((1, 1.0), (2, 2.0), (3, 6.0))]
    ((series,),) = grouped(build, **dict(zip("abc", lines, strict=True))).values()
    drawn = draw_seeds([series])
    loss, error = drawn.axes
    x = lines[0].x.values
    for ax, factor in ((loss, 1), (error, 10)):
        (mean,) = labelled(ax.lines, "standard")
        assert ys(mean) == pytest.approx(factor * (1 + 3 * abs(x)))
        for curve, each in zip(labelled(ax.lines, "direction"), lines, strict=True):
            assert ys(curve) == pytest.approx(factor * each.loss.values)
        (band,) = (each for each in ax.collections if isinstance(each, FillBetweenPolyCollection))
        corners = np.asarray(band.get_paths()[0].vertices)
        # Slopes 1, 2 and 6 have the variance (4 + 1 + 9) / 2 = 7.
        assert corners[corners[:, 0] == 1, 1].max() == pytest.approx(factor * (4 + 7**0.5))
        assert corners[corners[:, 0] == 1, 1].min() == pytest.approx(factor * (4 - 7**0.5))
    assert legend(drawn) == ["standard (3 directions)", "mean", "± standard deviation", "each direction", "checkpoint"]


def test_the_mean_is_drawn_where_all_lines_are_known(build: Build) -> None:
    whole, half = draw_of(build, 1), draw_of(build, 2)
    half["status"][1::2], half["loss"][1::2] = 0, np.nan
    whole["status"][4], whole["loss"][4] = 2, np.inf
    ((series,),) = grouped(build, a=whole, b=half).values()
    drawn = draw_seeds([series])
    (mean,) = labelled(drawn.axes[0].lines, "standard")
    assert xs(mean) == [-1, 0, 1]
    np.testing.assert_array_equal(mean.get_ydata(), [2, 1, np.nan])
    assert [xs(each) for each in labelled(drawn.axes[0].lines, "not finite")] == [[1]]
    assert series.note == "2 directions, partial: 8 of 10 points"
    drawn.draw_without_rendering()


@pytest.mark.parametrize(("log", "clip"), [(True, None), (None, (1.2, 1.6))])
def test_scale_and_clip(build: Build, log: bool | None, clip: tuple[float, float] | None) -> None:
    lines = {name: draw_of(build, seed) for seed, name in enumerate("ab")}
    ((series,),) = grouped(build, **lines).values()
    ax = draw_seeds([series], Options(log=log, clip=clip)).axes[0]
    assert ax.get_yscale() == ("log" if log else "linear")
    (mean,) = labelled(ax.lines, "standard")
    assert (min(ys(mean)), max(ys(mean))) == (clip or (1, 2))


def test_a_regression_has_one_panel(build: Build) -> None:
    lines = {name: draw_of(build, seed) for seed, name in enumerate("ab")}
    for each in lines.values():
        each["error"][:] = np.nan
    ((series,),) = grouped(build, **lines).values()
    assert len(draw_seeds([series]).axes) == 1
