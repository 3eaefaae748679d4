import numpy as np
import pytest

from lossviz.errors import RequestError
from lossviz.plot.kit import render as module
from lossviz.plot.kit.render import HEIGHT, refuse_without_opengl, render, surface_mesh, without_margins
from lossviz.plot.kit.scale import Scale, common_scale
from tests.plot.conftest import Build


def test_points_lie_where_they_were_measured_and_heights_span_the_scale(build: Build) -> None:
    plane = build.surface(lambda x, y: 10.0 ** (x + y), x=5, y=3)
    mesh = surface_mesh(plane, common_scale([plane.loss], True, None))
    x, y = np.meshgrid(plane.x, 2 * plane.y)  # y from -0.5 to 0.5 fills the same square
    np.testing.assert_allclose(mesh.points[:, 0], x.ravel(), atol=1e-6)
    np.testing.assert_allclose(mesh.points[:, 1], y.ravel(), atol=1e-6)
    np.testing.assert_allclose(mesh.points[:, 2], HEIGHT * (x + y / 2 + 1.5).ravel() / 3, atol=1e-6)
    assert mesh.n_cells == 4 * 2
    linear = surface_mesh(plane, Scale(0.0, 100.0, False))
    np.testing.assert_allclose(linear.points[:, 2], HEIGHT * plane.loss.values.ravel() / 100, rtol=1e-6)


@pytest.mark.parametrize(("bad", "faces"), [((2, 3), 24 - 4), ((0, 0), 24 - 1), ((0, 3), 24 - 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_hole_takes_the_faces_around_it_and_no_other(
    build: Build, bad: tuple[int, int], faces: int, value: float
) -> None:
    plane = build.surface(lambda x, y: 1 + x + y, x=7, y=5)
    plane.loss[bad], plane.status[bad] = value, 2
    mesh = surface_mesh(plane, Scale(0.1, 3.0, False))
    assert mesh.n_cells == faces
    assert bad[0] * 7 + bad[1] not in mesh.faces.reshape(-1, 5)[:, 1:]


def test_a_partial_scan_has_the_faces_of_its_lattice(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y, x=7, y=5, done=21)
    mesh = surface_mesh(plane, Scale(0.1, 3.0, False))
    assert mesh.n_cells == 6 * 2
    assert mesh.bounds[3] == pytest.approx(0)  # y of the third of five rows


def test_margins_are_those_of_all_images() -> None:
    images = [np.zeros((20, 30, 4), np.uint8) for _ in range(2)]
    images[0][5, 7, 3] = images[1][11, 20, 3] = 255
    cut = without_margins(images)
    assert [each.shape for each in cut] == [(7, 14, 4)] * 2
    assert (cut[0][0, 0, 3], cut[1][-1, -1, 3]) == (255, 255)
    assert without_margins([0 * images[0]])[0].shape == (20, 30, 4)


def test_without_opengl_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(module, "_LIBRARIES", ("libNotThere.so.1",))
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(RequestError, match=r"neither a screen nor libEGL or libOSMesa\n.*apt install libegl1"):
        refuse_without_opengl()
    monkeypatch.setenv("DISPLAY", ":0")
    refuse_without_opengl()


def test_a_surface_is_rendered_without_a_screen(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        refuse_without_opengl()
    except RequestError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(module, "SIZE", (160, 160))
    flat, hollow = build.surface(lambda x, y: 2 + 0 * x), build.surface(lambda x, y: 2 + 0 * x)
    hollow.loss[1:4, 2:5] = np.nan
    hollow.status[1:4, 2:5] = 2
    scale = Scale(1.0, 3.0, False)
    whole, torn, none = (render(each, scale) for each in (flat, hollow, hollow.where(False)))
    assert whole.shape == (160, 160, 4)
    seen = whole[..., 3] > 0
    assert 0.1 < seen.mean() < 0.9
    assert (torn[..., 3] > 0).sum() < 0.7 * seen.sum()
    assert not none[..., 3].any()
    # The middle of the map, which is green.
    red, green, blue = whole[seen][:, :3].mean(axis=0)
    assert green > red
    assert green > blue
