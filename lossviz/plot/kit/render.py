"""A surface rendered in space with light and shade; needs pyvista (lossviz[vtk]) and works without a screen."""

import ctypes
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyvista as pv
import xarray as xr
from numpy.typing import NDArray

from lossviz.errors import refuse
from lossviz.plot.kit.axes import Floats
from lossviz.plot.kit.cells import lattice
from lossviz.plot.kit.scale import Scale
from lossviz.plot.kit.style import COLOUR_MAP
from lossviz.results import SurfaceResults

Image = NDArray[np.uint8]
# The height of the scale's whole range; a side of the plane is 2.
HEIGHT = 2.0
# Pixels of an image before its empty margins are cut off.
SIZE = (1100, 1100)
_CAMERA = [(3.3, -5.3, 3.9), (0.0, 0.0, 0.45 * HEIGHT), (0.0, 0.0, 1.0)]
# Where each light stands, and how strong it is: the key light from the left, a weak one from the right.
_LIGHTS = (((-2.5, -3.0, 5.5), 0.95), ((4.0, -1.0, 2.0), 0.35))
# Any one of them draws where there is no screen.
_LIBRARIES = ("libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so.6")


def render(results: xr.Dataset, scale: Scale) -> Image:
    """The surface of a plane as an image with a transparent background, (rows, columns, RGBA), the same view of all.

    Raises:
        RequestError: there is no OpenGL.
    """
    refuse_without_opengl()
    surface = surface_mesh(results, scale)
    with pv.vtk_verbosity("off"):  # which would complain of the missing screen
        plotter: Any = pv.Plotter(off_screen=True, window_size=list(SIZE), lighting="none")
        if surface.n_cells:
            material = {"ambient": 0.25, "diffuse": 0.75, "specular": 0.2, "specular_power": 15}
            colours = {"scalars": surface.points[:, 2], "cmap": COLOUR_MAP, "clim": [0.0, HEIGHT]}
            plotter.add_mesh(surface, **colours, **material, smooth_shading=True, show_scalar_bar=False)
        for position, intensity in _LIGHTS:
            plotter.add_light(pv.Light(position=position, focal_point=_CAMERA[1], intensity=intensity))
        plotter.camera_position = _CAMERA
        plotter.camera.view_angle = 30
        plotter.enable_anti_aliasing("ssaa")
        # Shade in the valleys, without which a wide range of heights looks flat.
        plotter.enable_ssao(radius=0.3, bias=0.01)
        image = plotter.screenshot(None, transparent_background=True, return_img=True)
        plotter.close()
    return np.asarray(image, dtype=np.uint8)


def surface_mesh(results: xr.Dataset, scale: Scale) -> pv.PolyData:
    """The points of a plane, and a face for each four neighbours whose losses are all finite; nothing in between.

    Of a partial scan its finest lattice. x and y run from -1 to 1 over the whole plane, z from 0 to `HEIGHT` over the
    range of the scale.
    """
    known = lattice(results)
    low, high = scale.limits
    x, y = np.meshgrid(_spread(known.x.values, results.x.values), _spread(known.y.values, results.y.values))
    z = HEIGHT * (scale.heights(SurfaceResults(known).values("loss")) - low) / (high - low)
    corner = np.arange(z.size).reshape(z.shape)
    corners = [corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]]
    faces = np.stack([each.ravel() for each in corners], axis=1)
    faces = faces[np.isfinite(z.ravel()[faces]).all(axis=1)]
    points = np.column_stack([x.ravel(), y.ravel(), np.nan_to_num(z.ravel())])
    return pv.PolyData(points, faces=np.column_stack([np.full(len(faces), 4), faces]).ravel())


def without_margins(images: Sequence[Image]) -> list[Image]:
    """Images without the rows and columns that are empty in all of them, so that all keep one scale."""
    drawn = np.any([image[..., 3] > 0 for image in images], axis=0)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        return list(images)
    return [image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] for image in images]


def refuse_without_opengl() -> None:
    """Refuse in words: without OpenGL, VTK would end the whole process.

    Raises:
        RequestError: there is neither a screen nor a library that draws without one.
    """
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or any(map(_is_there, _LIBRARIES)):
        return
    refuse(
        "figure relief",
        "is rendered with OpenGL, and there is neither a screen nor libEGL or libOSMesa",
        advice="on Debian or Ubuntu: apt install libegl1 libegl-mesa0 libgl1-mesa-dri\n"
        "or use --figure 3d, which needs none",
    )


def _is_there(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _spread(axis: Floats, whole: Floats) -> Floats:
    return np.asarray(2 * (axis - whole[0]) / (whole[-1] - whole[0]) - 1)
