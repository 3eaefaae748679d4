import numpy as np
import pytest
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from mpl_toolkits.mplot3d.proj3d import proj_transform

from lossviz.plot.figures.surface_3d import draw_surface_3d
from lossviz.plot.series import Options
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
