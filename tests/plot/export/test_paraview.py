from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvista as pv
import xarray as xr
from vtkmodules.vtkFiltersGeometry import vtkGeometryFilter

from lossviz.plot.export.paraview import checkpoints_file, grid_file
from lossviz.plot.kit.scale import Scale, common_scale
from lossviz.results import variable
from tests.plot.conftest import Build


def loss_at(x: Any, y: Any) -> Any:
    return np.where((x > 0.9) & (y > 0.4), np.nan, 2 + x + 10 * y**2)


@pytest.fixture
def plane(build: Build) -> xr.Dataset:
    results = build.surface(loss_at, x=7, y=5)
    results.attrs |= {"experiment": "quickstart", "seed": 3}
    return results


def read_back(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return pv.read(path)


def shown_cells(grid: Any) -> int:
    # VTK's own filter: pyvista's needs an argument from 0.47 on that 0.45 does not know.
    surface = vtkGeometryFilter()
    surface.SetInputData(grid)
    surface.Update()
    return int(surface.GetOutput().GetNumberOfCells())


def scale_of(results: xr.Dataset, log: bool = False, clip: tuple[float, float] | None = None) -> Scale:
    return common_scale([results.loss], log, clip)


def test_every_point_has_its_place_and_its_values(plane: xr.Dataset, tmp_path: Path) -> None:
    grid = read_back(tmp_path / "a.vts", grid_file(plane, scale_of(plane)))
    assert grid.dimensions == (7, 5, 1)
    seen = 0
    for place, (x, y, z) in enumerate(grid.points):
        loss = loss_at(x, y)
        np.testing.assert_equal(grid["loss"][place], loss)
        np.testing.assert_equal(grid["error"][place], 10 * loss)
        np.testing.assert_allclose(grid["log10_loss"][place], np.log10(loss))
        if np.isfinite(loss):
            assert z == loss
            seen += 1
    assert seen == 34
    assert np.isnan(grid["loss"]).sum() == 1
    assert set(np.unique(grid["status"])) == {1, 2}


def test_what_is_not_finite_is_hidden_and_leaves_the_bounds_finite(plane: xr.Dataset, tmp_path: Path) -> None:
    grid = read_back(tmp_path / "a.vts", grid_file(plane, scale_of(plane)))
    assert np.isfinite(grid.bounds).all()
    hidden = grid["vtkGhostType"] != 0
    np.testing.assert_array_equal(hidden, np.isnan(grid["loss"]))
    # One corner of 6 x 4 cells.
    assert shown_cells(grid) == 23


def test_the_shape_is_clipped_or_logarithmic_and_the_values_are_not(plane: xr.Dataset, tmp_path: Path) -> None:
    clipped = read_back(tmp_path / "a.vts", grid_file(plane, scale_of(plane, clip=(0.5, 2.0))))
    known = np.isfinite(clipped["loss"])
    np.testing.assert_array_equal(clipped.points[known, 2], np.clip(clipped["loss"][known], 0.5, 2))
    assert clipped["loss"][known].max() > 2
    logarithmic = read_back(tmp_path / "b.vts", grid_file(plane, scale_of(plane, log=True, clip=(0.5, 2.0))))
    np.testing.assert_allclose(logarithmic.points[known, 2], np.log10(clipped.points[known, 2]))


def test_the_protocol_is_field_data(plane: xr.Dataset, tmp_path: Path) -> None:
    grid = read_back(tmp_path / "a.vts", grid_file(plane, scale_of(plane)))
    assert grid.field_data["experiment"].tolist() == ["quickstart"]
    assert grid.field_data["seed"].tolist() == [3]


def test_a_line_lies_at_y_0(build: Build, tmp_path: Path) -> None:
    line = build.surface(lambda x, _: 1 + x**2, x=9, y=0)
    grid = read_back(tmp_path / "a.vts", grid_file(line, scale_of(line)))
    assert grid.dimensions == (9, 1, 1)
    np.testing.assert_allclose(grid.points, np.column_stack([line.x, 0 * line.x, 1 + line.x**2]))


@pytest.mark.parametrize(("trajectory", "lines"), [(1, 1), (0, 0)])
def test_checkpoints(plane: xr.Dataset, tmp_path: Path, trajectory: int, lines: int) -> None:
    values = {"x": [0.5, 0.0, -0.5], "y": [0.1, 0.2, 0.3], "loss": [3.0, 2.0, 1.0], "plane_loss": [1.0, 1.5, np.inf]}
    for name, each in values.items():
        plane[f"checkpoint_{name}"] = variable("checkpoint", each, name, "1")
    plane = plane.assign_coords(checkpoint=["step 0", "step 50", "step 100"]).assign_attrs(trajectory=trajectory)
    marks = read_back(tmp_path / "a.vtp", checkpoints_file(plane, scale_of(plane)))
    np.testing.assert_allclose(marks.points[:2], [[0.5, 0.1, 1.0], [0.0, 0.2, 1.5]])
    assert np.isfinite(marks.points).all()
    assert marks["checkpoint_loss"].tolist() == [3.0, 2.0, 1.0]
    assert list(marks["checkpoint"]) == ["step 0", "step 50", "step 100"]
    assert marks.n_lines == lines


def test_the_same_bytes(plane: xr.Dataset) -> None:
    assert grid_file(plane, scale_of(plane)) == grid_file(plane, scale_of(plane))
