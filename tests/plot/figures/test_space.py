import sys
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from mpl_toolkits.mplot3d.proj3d import proj_transform

from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from lossviz.plot.figures.space import draw_relief, draw_surface_3d
from lossviz.plot.kit import render as module
from lossviz.plot.kit.scale import Scale
from lossviz.plot.series import Options
from tests.plot.artists import cells, labelled, legend
from tests.plot.conftest import Build


def panels(drawn: Figure) -> list[Axes3D]:
    return [ax for ax in drawn.axes if isinstance(ax, Axes3D)]


def assert_drawn(ax: Axes3D, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> None:
    """The corners of the faces on paper are the projections of these points, all of them and no others."""
    ax.figure.draw_without_rendering()
    (surface,) = ax.collections
    faces = surface.get_paths()
    assert len(faces) == (x.shape[0] - 1) * (x.shape[1] - 1)
    corners = np.concatenate([face.vertices for face in faces])
    expected = np.stack(proj_transform(x.ravel(), y.ravel(), z.ravel(), ax.get_proj())[:2], axis=1)
    distance = np.abs(corners[:, None] - expected[None]).max(axis=2)
    assert max(distance.min(axis=0).max(), distance.min(axis=1).max()) < 1e-9


def test_all_runs_have_the_same_heights(build: Build) -> None:
    drawn = draw_surface_3d(
        build.series(build.surface(lambda x, _: 1 + x**2), build.surface(lambda x, y: 2 + 5 * x**2 + y**2))
    )
    assert [ax.get_zlim() for ax in panels(drawn)] == [(1.0, 7.25)] * 2


def test_logarithmic_heights_are_labelled_with_losses(build: Build) -> None:
    (ax,) = panels(draw_surface_3d(build.series(build.surface(lambda x, _: 10.0 ** (2 * x)))))
    assert ax.get_zlim() == pytest.approx((-2, 2))
    labels = ax.zaxis.get_major_formatter()
    ticks = ax.zaxis.get_majorticklocs()
    assert len(ticks) >= 3
    assert [float(labels(tick)) for tick in ticks] == pytest.approx([10**tick for tick in ticks], rel=0.01)


def test_every_point_is_drawn_where_it_is(build: Build) -> None:
    # More points than matplotlib draws by default, and a loss that tells x from y.
    results = build.surface(lambda x, y: 5 + 2 * x + y, x=61, y=5)
    x, y = np.meshgrid(results.x, results.y)
    (ax,) = panels(draw_surface_3d(build.series(results)))
    assert_drawn(ax, x, y, 5 + 2 * x + y)


def test_a_clip_flattens_the_drawing_only(build: Build) -> None:
    results = build.surface(lambda x, _: 1 + 9 * x**2)
    drawn = draw_surface_3d(build.series(results), Options(clip=(0.0, 4.0)))
    (ax,) = panels(drawn)
    assert ax.get_zlim() == (1.0, 4.0)
    x, y = np.meshgrid(results.x, results.y)
    assert_drawn(ax, x, y, np.minimum(1 + 9 * x**2, 4))
    assert float(results.loss.max()) == 10
    assert "clipped to [0, 4]" in drawn.axes[-1].get_ylabel()


def test_holes_are_counted(build: Build) -> None:
    drawn = draw_surface_3d(build.series(build.surface(lambda x, _: np.where(x > 0.9, np.inf, 1 + x), done=30)))
    drawn.draw_without_rendering()
    assert drawn.axes[0].get_title().splitlines()[-2:] == ["partial: 30 of 35 points", "4 not finite (holes)"]


def test_nothing_finite_is_drawable(build: Build) -> None:
    draw_surface_3d(build.series(build.surface(lambda x, _: np.nan * x))).draw_without_rendering()


@pytest.mark.parametrize(("log", "height"), [(False, 10.0), (True, 1.0)])
def test_the_checkpoint_has_a_cross_at_its_height(build: Build, log: bool, height: float) -> None:
    (ax,) = panels(draw_surface_3d(build.series(build.surface(lambda x, y: 10 + x**2 + y**2)), Options(log=log)))
    (cross,) = ax.lines
    assert [float(np.ravel(each)[0]) for each in cross.get_data_3d()] == [0, 0, height]
    assert "loss" in [text.get_text().strip() for text in ax.texts]


@pytest.mark.parametrize("x", [6, 7])
def test_no_cross_where_the_checkpoint_is_not_known(build: Build, x: int) -> None:
    known = build.surface(lambda x, y: np.where(abs(x) < 0.1, np.inf, 1 + x**2), x=x)
    assert len(draw_surface_3d(build.series(known)).axes[0].lines) == 0


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[Scale]:
    """Of the surfaces that would be rendered; a grey square is in their place."""
    seen: list[Scale] = []

    def square(_: xr.Dataset, scale: Scale) -> np.ndarray:
        seen.append(scale)
        image = np.zeros((40, 60, 4), np.uint8)
        image[10:30, 20:40] = 128
        return image

    monkeypatch.setattr(module, "render", square)
    return seen


def test_every_run_has_its_surface_over_its_contour_on_one_scale(build: Build, scales: list[Scale]) -> None:
    flat, steep = build.surface(lambda x, y: 1 + x**2), build.surface(lambda x, y: 1 + 99 * x**2)
    drawn = draw_relief(build.series(flat, steep))
    drawn.draw_without_rendering()
    assert [(scale.low, scale.high, scale.log) for scale in scales] == [(1, 100, True)] * 2
    first, below, second, _ = drawn.axes[:4]
    assert [cells(image).shape for ax in (first, second) for image in ax.images] == [(20, 20, 4)] * 2
    assert first.get_position().y0 >= below.get_position().y1
    assert first.get_title() == "standard\nloss 1 at the centre"
    assert below.get_xlabel() == "x (units of d)"
    assert {bar.get_ylabel() for bar in drawn.axes[4:]} == {"loss (nats)"}
    assert legend(drawn) == ["checkpoint"]
    assert labelled(below.lines, "other checkpoint") == []


@pytest.mark.parametrize(
    "loss_at", [lambda x, y: np.where(x > 0.5, np.nan, 1 + x + y), lambda x, y: np.nan * x, lambda x, y: 1 + 0 * x]
)
def test_holes_and_flat_planes_are_rendered(
    build: Build, scales: list[Scale], loss_at: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    draw_relief(build.series(build.surface(loss_at)), Options(clip=(0.5, 4.0))).draw_without_rendering()
    assert scales[0].clip == (0.5, 4.0)


def test_it_is_drawn_on_request_and_names_the_extra_that_it_needs(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build.run(main=build.surface(lambda x, y: 1 + x + y))
    assert not any("relief" in path.name for path in draw([run]))
    monkeypatch.delitem(sys.modules, "lossviz.plot.kit.render", raising=False)
    monkeypatch.setitem(sys.modules, "pyvista", None)
    with pytest.raises(RequestError, match=r"figure relief: needs pyvista, .*\n  pip install 'lossviz\[vtk\]'"):
        draw([run], figures=["relief"])
