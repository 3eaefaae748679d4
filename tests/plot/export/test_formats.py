import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import pyvista as pv
import safetensors.numpy
import xarray as xr

from lossviz.errors import RequestError
from lossviz.files import BLANK_SEAL, seal
from lossviz.official import official_surface, read_official_directions, read_official_surface
from lossviz.plot.draw import draw
from lossviz.plot.series import Options
from lossviz.plot.sources import find_sources
from lossviz.run import Run
from tests.plot.conftest import Build

ORDER = ("z.weight", "a.weight", "m.bias")


@pytest.fixture
def plane(build: Build) -> xr.Dataset:
    return build.surface(lambda x, y: 1 + x + 30 * y**2).assign_attrs(parameters="\n".join(ORDER))


def save_directions(run: Run, axes: str = "xy") -> dict[str, np.ndarray]:
    tensors = {
        f"{axis}/{name}": np.full(3, 10.0 * place + (axis == "y")) for axis in axes for place, name in enumerate(ORDER)
    }
    content = safetensors.numpy.save(tensors, {"seal": BLANK_SEAL.decode()})
    run.directions_file("main").write_bytes(seal(content))
    return tensors


def test_each_format_makes_its_files(build: Build, plane: xr.Dataset, tmp_path: Path) -> None:
    line = build.surface(lambda x, _: 1 + x**2, y=0)
    runs = [build.run("standard", main=plane, cut=line), build.run("noisy", main=plane)]
    paths = draw(runs, formats=["html", "vtk", "h5"], folder=tmp_path / "out")
    assert sorted(path.name for path in paths) == sorted(
        ["surface-main-3d.html", "surface-cut-line.html"]
        + [
            f"surface-{each}.{ending}"
            for each in ("main-standard", "main-noisy", "cut-standard")
            for ending in ("vts", "h5")
        ]
    )
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())


def test_grids_have_the_scale_of_their_figure(build: Build, tmp_path: Path) -> None:
    """A plane that is steep has logarithms as heights, and another one of the same run has not."""
    steep, flat = build.surface(lambda x, y: np.exp(5 * x) + 0 * y), build.surface(lambda x, y: 2 + x + 0 * y)
    paths = draw([build.run(main=steep, zoom=flat)], formats=["vtk"], folder=tmp_path)
    highest = {path.stem: pv.read(path).points[:, 2].max() for path in paths}
    assert highest["surface-main-standard"] == pytest.approx(5 / np.log(10), rel=1e-6)
    assert highest["surface-zoom-standard"] == pytest.approx(3)


def test_images_and_exports_together(build: Build, plane: xr.Dataset) -> None:
    run = build.run(train=build.train(), main=plane)
    paths = draw([run], figures=["training", "surface"], formats=["png", "h5"])
    assert {path.name for path in paths} >= {"training.png", "surface-main-contour.png", "surface-main-standard.h5"}


def test_the_official_files_have_losses_and_directions_in_the_order_of_the_network(
    build: Build, plane: xr.Dataset
) -> None:
    run = build.run(main=plane)
    tensors = save_directions(run)
    surface, directions = draw([run], formats=["h5"])
    np.testing.assert_array_equal(read_official_surface(surface).loss.values, plane.loss.values)
    with h5py.File(surface) as file:
        assert file["dir_file"][()].decode() == directions.name == "directions-main-standard.h5"
    found = read_official_directions(directions)
    for axis, arrays in found.items():
        for name, array in zip(ORDER, arrays, strict=True):
            np.testing.assert_array_equal(array, tensors[f"{axis}/{name}"])


def test_without_the_order_there_are_no_directions(build: Build, plane: xr.Dataset) -> None:
    del plane.attrs["parameters"]
    run = build.run(main=plane)
    save_directions(run)
    (surface,) = draw([run], formats=["h5"])
    with h5py.File(surface) as file:
        assert file["dir_file"][()] == b""


def test_directions_of_another_scan_are_refused(build: Build, plane: xr.Dataset) -> None:
    run = build.run(main=plane.assign_attrs(parameters="other.weight"))
    save_directions(run)
    with pytest.raises(RequestError, match=r"has no direction of other\.weight"):
        draw([run], formats=["h5"])
    assert not (run.folder.parent / "figures").exists()


def test_directions_that_the_scan_did_not_begin_with_are_refused(build: Build, plane: xr.Dataset) -> None:
    run = build.run(main=plane.assign_attrs(directions_sha256="0" * 64))
    save_directions(run)
    with pytest.raises(RequestError, match=r"directions-main\.safetensors: holds other directions"):
        draw([run], formats=["h5"])


def test_a_figure_that_is_no_scan_is_refused(build: Build, plane: xr.Dataset) -> None:
    run = build.run(train=build.train(), main=plane)
    with pytest.raises(RequestError, match="format vtk: holds scans, not the figure training"):
        draw([run], figures=["training"], formats=["vtk", "png"])
    assert not (run.folder.parent / "figures").exists()


def test_without_a_scan_the_command_is_named(build: Build) -> None:
    run = build.run(train=build.train(), main=build.surface(lambda x, _: x, done=0))
    with pytest.raises(RequestError, match="made by: lossviz surface"):
        draw([run], formats=["html"])


@pytest.mark.parametrize(("library", "extra"), [("plotly", "html"), ("pyvista", "vtk")])
def test_a_missing_library_is_named_with_the_command_that_adds_it(
    build: Build, plane: xr.Dataset, monkeypatch: pytest.MonkeyPatch, library: str, extra: str
) -> None:
    for name in ("page", "plane_page", "paraview"):
        monkeypatch.delitem(sys.modules, f"lossviz.plot.export.{name}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    message = rf"format {extra}: needs {library}, which is not installed\n  pip install 'lossviz\[{extra}\]'"
    with pytest.raises(RequestError, match=message):
        draw([build.run(main=plane)], formats=[extra])


def test_two_scans_never_become_one_file(build: Build, plane: xr.Dataset) -> None:
    run, other = build.run("standard", "a-b", main=plane), build.run("noisy", "a", main=plane)
    moved = Run(other.folder.rename(other.folder.with_name("b-standard")))
    with pytest.raises(RequestError, match=r"surface-main-a-b-standard\.h5: would hold two scans"):
        draw([run, moved], formats=["h5"])


def test_scans_that_share_a_figure_have_the_same_heights(build: Build) -> None:
    pyvista = pytest.importorskip("pyvista")
    flat, steep = build.surface(lambda x, y: 1 + x**2), build.surface(lambda x, y: 1 + 99 * x**2)
    paths = draw([build.run("standard", main=flat), build.run("noisy", main=steep)], formats=["vtk"])
    tops = [pyvista.read(path).bounds[5] for path in paths]
    # Both logarithmic, though the first alone would not be.
    np.testing.assert_allclose(tops, np.log10([2, 100]))


def test_official_files_are_drawn_as_they_are(plane: xr.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "trained_nets" / "resnet56"
    folder.mkdir(parents=True)
    path = folder / f"model_300.t7{'_weights' * 15}[-1.0,1.0,7]x[-0.5,0.5,5].h5"
    path.write_bytes(official_surface(plane))
    runs, scans = find_sources([str(path)])
    paths = draw(runs, formats=["svg", "html", "vtk"], options=Options(scans=scans))
    assert {each.parent for each in paths} == {tmp_path / "trained_nets" / "figures"}
    kinds = {each.name.rpartition("]")[2] for each in paths}
    assert kinds == {"-contour.svg", "-heatmap.svg", "-3d.svg", "-3d.html", ".vts"}
    contour = next(each for each in paths if each.name.endswith("-contour.svg")).read_text()
    assert ">model_300.t7_weights_weigh</text>" in contour
    assert "resnet56" not in contour
    assert "nats" not in contour
    page = next(each for each in paths if each.suffix == ".html").read_text()
    assert "<title>surface-model_300.t7" in page


def test_official_files_share_a_figure_with_a_run(build: Build, plane: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "theirs.h5").write_bytes(official_surface(plane))
    run = build.run(main=plane)
    runs, scans = find_sources([str(run.surface_file("main")), str(tmp_path / "theirs.h5")])
    paths = draw(runs, formats=["svg"], options=Options(scans=scans))
    assert {path.name for path in paths} == {f"surface-main+theirs-{kind}.svg" for kind in ("contour", "heatmap", "3d")}
