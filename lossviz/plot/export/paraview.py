"""Scans as VTK XML files, which ParaView opens: every variable at every point, and a shape to look at."""

from collections.abc import Mapping

import numpy as np
import pyvista as pv
import xarray as xr
from numpy.typing import NDArray
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter, vtkXMLStructuredGridWriter, vtkXMLWriter

from lossviz.plot.kit.axes import Floats
from lossviz.plot.kit.labels import places_on_path
from lossviz.plot.kit.scale import Scale
from lossviz.results import SurfaceResults


def grid_file(results: xr.Dataset, scale: Scale) -> bytes:
    """A structured grid (.vts) of a scan.

    Points lie at (x, y, z), z the loss as `scale` draws it: clipped, or its logarithm to base 10; y is 0 on a line.
    Point arrays hold every variable of the scan as it was measured, NaN included, and log10_loss. Points without a
    finite loss lie at the bottom and are hidden (vtkGhostType), so that they are holes.
    """
    x, y = np.meshgrid(results.x.values, results.y.values if "y" in results.dims else [0.0])
    height, known = _height(SurfaceResults(results).values("loss").ravel(), scale)
    grid = pv.StructuredGrid()
    grid.points = np.column_stack([x.ravel(), y.ravel(), height])
    grid.dimensions = (*reversed(x.shape), 1)
    for name, array in results.data_vars.items():
        if set(array.dims) == set(results.loss.dims):
            grid.point_data[str(name)] = SurfaceResults(results).values(str(name)).ravel()
    grid.point_data["log10_loss"] = _logarithm(SurfaceResults(results).values("loss").ravel())
    _say(grid, results.attrs)
    if not known.all():
        grid.hide_points(np.flatnonzero(~known).tolist())
    return _written(vtkXMLStructuredGridWriter(), grid)


def checkpoints_file(results: xr.Dataset, scale: Scale) -> bytes:
    """The checkpoints of a scan (.vtp), at their places and the loss there; a line joins those of a trajectory."""
    x = results.checkpoint_x.values
    y = results.checkpoint_y.values if "checkpoint_y" in results else np.zeros_like(x)
    height, _ = _height(results.checkpoint_plane_loss.values, scale)
    path = bool(results.attrs.get("trajectory")) and len(x) > 1
    places = places_on_path(results)
    line = np.array([len(places), *places])
    points = np.column_stack([x, y, height]).astype(float)
    marks = pv.PolyData(points, lines=line) if path else pv.PolyData(points)
    for name, array in results.data_vars.items():
        if array.dims == ("checkpoint",):
            marks.point_data[str(name)] = array.values
    marks.point_data["checkpoint"] = results["checkpoint"].values.astype(str)
    _say(marks, results.attrs)
    return _written(vtkXMLPolyDataWriter(), marks)


def _height(loss: Floats, scale: Scale) -> tuple[Floats, NDArray[np.bool_]]:
    """Heights of the points, and which of them have a loss that can be shown."""
    heights = scale.heights(loss)
    known = np.isfinite(heights)
    return np.where(known, heights, scale.limits[0]), known


def _logarithm(loss: Floats) -> Floats:
    """The base-10 logarithm; NaN if there is none, as VTK cannot use infinities."""
    return np.log10(loss, out=np.full(loss.shape, np.nan), where=loss > 0)


def _say(data: pv.DataSet, attributes: Mapping[str, object]) -> None:
    """The protocol, as field data."""
    for name, value in attributes.items():
        data.add_field_data([value if isinstance(value, int | float) else str(value)], name)


def _written(writer: vtkXMLWriter, data: pv.DataSet) -> bytes:
    writer.SetInputData(data)
    writer.SetDataModeToBinary()
    writer.WriteToOutputStringOn()
    writer.Write()
    return str(writer.GetOutputString()).encode()
