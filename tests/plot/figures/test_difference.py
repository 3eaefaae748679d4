from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import xarray as xr
from matplotlib.colors import SymLogNorm
from matplotlib.contour import QuadContourSet

from lossviz.config import read
from lossviz.config.reading import dump
from lossviz.errors import RequestError
from lossviz.files import BLANK_SEAL, seal
from lossviz.plot.draw import draw
from lossviz.plot.figures.difference import draw_difference, subtracted
from lossviz.plot.series import Options, Series
from lossviz.run import Run
from tests.plot.artists import arrows, cells, labelled, legend
from tests.plot.conftest import Build, drawings


def with_directions(results: xr.Dataset, *settings: str, checkpoint: str = "") -> xr.Dataset:
    configuration = dump(read("quickstart", [f"surface.directions{each}" for each in settings], ["standard"])[0])
    return results.assign_attrs(configuration=configuration, checkpoint_sha256=checkpoint)


def test_the_first_is_subtracted_from_the_second(build: Build) -> None:
    first, second = build.surface(lambda x, y: 1 + x**2 + y), build.surface(lambda x, y: 1.25 + x**2 + x)
    drawn = draw_difference(build.series(first, second))
    ax, bar = drawn.axes
    (mesh,) = labelled(ax.collections, "difference")
    np.testing.assert_allclose(cells(mesh), 0.25 + first.x.values - first.y.values[:, None], atol=1e-12)
    assert mesh.get_clim() == pytest.approx((-1.75, 1.75))
    assert mesh.get_cmap()(0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)
    assert ax.get_title() == "batchnorm\nminus standard\ndifference 0.25 at the centre"
    assert bar.get_ylabel() == "difference of the loss (nats)"
    assert legend(drawn) == ["checkpoint", "equal loss"]


def test_the_contour_of_zero(build: Build) -> None:
    flat = build.surface(lambda x, y: 1 + 0 * x)
    drawn = draw_difference(build.series(flat, build.surface(lambda x, y: 1.1 + x + 0 * y)))
    (zero,) = (each for each in drawn.axes[0].collections if isinstance(each, QuadContourSet))
    assert np.asarray(zero.get_paths()[0].vertices)[:, 0] == pytest.approx(-0.1)
    above = draw_difference(build.series(flat, build.surface(lambda x, y: 2.0 + 0 * x)))
    assert not [each for each in above.axes[0].collections if isinstance(each, QuadContourSet)]


def test_grids_meet_in_their_common_points(build: Build) -> None:
    coarse, fine = build.surface(lambda x, y: x + y, x=5, y=3), build.surface(lambda x, y: 2 * x + 3 * y, x=13, y=5)
    results = subtracted(*build.series(coarse, fine))
    np.testing.assert_array_equal(results.x, coarse.x)
    np.testing.assert_array_equal(results.y, coarse.y)
    np.testing.assert_allclose(results.difference, (coarse.x + 2 * coarse.y).transpose("y", "x"), atol=1e-12)


def test_points_that_one_of_both_lacks(build: Build) -> None:
    first = build.surface(lambda x, y: np.where(x > 0.9, np.inf, 1 + x + y))
    second = build.surface(lambda x, y: np.where(y < -0.4, np.nan, 1 + x), done=28)
    results = subtracted(*build.series(first, second))
    assert results.status[4].values.tolist() == [0] * 7
    assert results.status[0].values.tolist() == [2] * 7
    assert results.status[1].values.tolist() == [1] * 6 + [2]
    np.testing.assert_array_equal(np.isfinite(results.difference), results.status == 1)
    draw_difference(build.series(first, second)).draw_without_rendering()


@pytest.mark.parametrize("axis", ["x", "y"])
def test_other_axes_are_refused_by_name(build: Build, axis: str) -> None:
    first = build.surface(lambda x, y: x + y)
    second = first.assign_coords({axis: first[axis] + 0.01})
    with pytest.raises(RequestError, match=rf"along {axis} they differ\n  standard: {axis} = \[-\d"):
        draw_difference(build.series(first, second))


def test_other_directions_are_refused_by_key(build: Build) -> None:
    plane = build.surface(lambda x, y: x + y)
    pair = build.series(with_directions(plane, ".seed=1"), with_directions(plane, ".seed=2"))
    with pytest.raises(RequestError, match=r"surface\.directions\.seed = 1 in standard, 2 in batchnorm"):
        draw_difference(pair)
    same = build.series(with_directions(plane, ".seed=1"), with_directions(plane, ".seed=1", checkpoint="b"))
    draw_difference(same)


def test_other_checkpoints_are_another_plane_of_one_network_only(build: Build) -> None:
    plane = build.surface(lambda x, y: x + y)
    one, two = (with_directions(plane, f"={{kind: toward, checkpoints: [a, {name}]}}", checkpoint="n") for name in "bc")
    with pytest.raises(RequestError, match="checkpoints"):
        draw_difference(build.series(one, two))
    draw_difference(build.series(one, two.assign_attrs(checkpoint_sha256="m")))


@pytest.mark.parametrize(("log", "kind"), [(None, True), (False, False), (True, True)])
def test_a_wide_range_is_logarithmic_on_both_sides(build: Build, log: bool | None, kind: bool) -> None:
    flat, steep = build.surface(lambda x, _: 1 + 0 * x, x=21), build.surface(lambda x, _: 1 + np.sinh(10 * x), x=21)
    pair = build.series(flat, steep)
    ax, bar = draw_difference(pair, Options(log=log)).axes
    (mesh,) = labelled(ax.collections, "difference")
    assert isinstance(mesh.norm, SymLogNorm) is kind
    assert mesh.norm(np.zeros(1)) == 0.5
    ticks = bar.get_yticks()
    assert 0 in ticks
    np.testing.assert_allclose(ticks, -ticks[::-1])


def test_a_clip_is_symmetric_and_shows_in_the_bar(build: Build) -> None:
    pair = build.series(build.surface(lambda x, y: 1 + 0 * x), build.surface(lambda x, y: 1.5 + x))
    ax, bar = draw_difference(pair, Options(clip=(-0.5, 1.0))).axes
    (mesh,) = labelled(ax.collections, "difference")
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-1, 1)
    assert cells(mesh).max() == 1.5
    assert arrows(bar) == ["max"]
    assert bar.get_ylabel().endswith("clipped to [-1, 1]")


def test_equal_planes_are_drawable(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x)
    draw_difference(build.series(plane, plane)).draw_without_rendering()


def test_a_plane_that_was_shared_through_a_file_is_the_same(build: Build) -> None:
    plane = build.surface(lambda x, y: x + y)
    drawn, shared = with_directions(plane, ".seed=1"), with_directions(plane, "={kind: file, path: p}")
    draw_difference(build.series(*(each.assign_attrs(directions_sha256="a") for each in (drawn, shared))))
    with pytest.raises(RequestError, match=r"surface\.directions\.kind"):
        draw_difference(
            build.series(drawn.assign_attrs(directions_sha256="a"), shared.assign_attrs(directions_sha256="b"))
        )
    with pytest.raises(RequestError, match=r"surface\.directions\.kind"):
        draw_difference(build.series(drawn, shared))


def scanned(build: Build, name: str, directions: dict[str, np.ndarray] | None, *settings: str) -> Series:
    """A scan of one checkpoint, with its directions beside it."""
    plane = with_directions(build.surface(lambda x, y: 1 + x + y), *settings, checkpoint="n")
    plane.attrs["directions_sha256"] = name
    file = build.out / f"directions-{name}.safetensors"
    if directions is not None:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(seal(safetensors.numpy.save(directions, {"seal": BLANK_SEAL.decode()})))
    return replace(build.series(plane)[0], label=name, directions=file)


DIRECTIONS = {f"{axis}/w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3) for axis in "xy"}


@pytest.mark.parametrize("kind", ["{kind: file, path: p}", "{kind: toward, checkpoints: [a, last]}", "{kind: pca}"])
def test_stored_directions_decide_where_the_keys_are_the_same(build: Build, kind: str) -> None:
    first = scanned(build, "first", DIRECTIONS, f"={kind}")
    rewritten = DIRECTIONS | {"y/w": DIRECTIONS["y/w"] + np.float32(0.01)}
    with pytest.raises(RequestError, match=r"their stored directions y differ by 0\.015 of their length"):
        draw_difference([first, scanned(build, "rewritten", rewritten, f"={kind}")])
    with pytest.raises(RequestError, match="other names or shapes in first than in other"):
        draw_difference([first, scanned(build, "other", DIRECTIONS | {"x/v": np.zeros(1)}, f"={kind}")])
    with pytest.raises(RequestError, match=r"the file .*directions-gone\.safetensors of gone is missing"):
        draw_difference([first, scanned(build, "gone", None, f"={kind}")])


def test_other_last_digits_are_the_same_plane(build: Build) -> None:
    rounded = {name: np.nextafter(each, np.float32(2)) for name, each in DIRECTIONS.items()}
    one = scanned(build, "one", DIRECTIONS, ".seed=1")
    draw_difference([one, scanned(build, "two", rounded, ".seed=1")])
    draw_difference([one, scanned(build, "read", rounded, "={kind: file, path: p}")])
    with pytest.raises(RequestError, match=r"surface\.directions\.seed = 1 in one, 2 in apart"):
        draw_difference([one, scanned(build, "apart", {name: -each for name, each in rounded.items()}, ".seed=2")])


def test_the_title_says_what_differs_beside_the_plane(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y).assign_attrs(batch_norm="batch")
    few, many = (plane.assign_attrs(examples=np.int64(count)) for count in (1000, 50_000))
    sized = draw_difference(build.series(many, few)).axes[0].get_title()
    assert " ".join(sized.split()).startswith("batchnorm, N = 1,000 minus standard, N = 50,000 difference 0")
    first = plane.assign_attrs(split="train", checkpoint="step 50", examples=np.int64(50_000))
    second = plane.assign_attrs(
        split="test", checkpoint="runs/q/a/checkpoints/step-00000100.safetensors", examples=np.int64(1000)
    )
    title = draw_difference(build.series(first, second)).axes[0].get_title()
    assert " ".join(title.split()) == (
        "batchnorm, test, step 100 minus standard, train, step 50 difference 0 at the centre BatchNorm: batch"
    )
    alike = draw_difference(build.series(second, second)).axes[0].get_title()
    assert " ".join(alike.split()) == ("batchnorm minus standard difference 0 at the centre test set BatchNorm: batch")


def test_a_difference_of_two_files_or_of_two_runs(pair: list[Run]) -> None:
    assert set(drawings([pair[0].surface_file("main"), pair[0].surface_file("fine")], "difference")) == {
        "surface-main+fine-difference"
    }
    assert set(drawings([run.folder for run in pair], "difference")) == {
        "surface-main-difference",
        "surface-fine-difference",
    }


def test_a_difference_is_of_two(pair: list[Run]) -> None:
    with pytest.raises(RequestError, match="there are 1"):
        drawings([pair[0].folder], "difference")
    with pytest.raises(RequestError, match="there are 3"):
        drawings([*pair[0].surface_files], "difference")


def test_a_difference_needs_a_plane_of_the_same_name(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y)
    runs = [build.run("standard", a=plane), build.run("noisy", b=plane)]
    with pytest.raises(RequestError, match="no planes of one name in both runs"):
        draw(runs, figures=["difference"])


def test_the_error_of_a_difference_of_the_same_examples_is_paired(build: Build) -> None:
    """Errors that both planes share cancel; those of other examples add up."""
    plane = build.surface(lambda x, y: 1 + x + y)
    shared = np.random.default_rng(0).standard_normal((*plane.loss.shape, 32))
    counts = plane.loss.astype(int) * 0 + 256
    plane = plane.assign(examples=counts, precise_examples=counts)
    sampled = {"seed": 0, "data_sha256": "a", "examples": 1000}
    first, second = (
        plane.assign(loss_deviation=(("y", "x", "group"), factor * shared)).assign_attrs(sampled)
        for factor in (1.0, 1.1)
    )
    own = np.linalg.norm(shared, axis=-1)
    np.testing.assert_allclose(subtracted(*build.series(first, second)).difference_stderr, 0.1 * own)
    other = second.assign_attrs(data_sha256="b")
    np.testing.assert_allclose(subtracted(*build.series(first, other)).difference_stderr, np.hypot(1, 1.1) * own)
    title = draw_difference(build.series(first, second)).axes[0].get_title()
    assert f"standard error {np.median(0.1 * own):.2g} (median)" in title
    for pair in ((first, plane), (plane, first)):  # an exact plane has no error of its own
        np.testing.assert_allclose(subtracted(*build.series(*pair)).difference_stderr, own)
    assert "difference_stderr" not in subtracted(*build.series(plane, plane))
