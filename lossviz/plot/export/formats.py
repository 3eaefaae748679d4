"""Formats of scans that are not images: pages, grids for ParaView, files of the official tool."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import xarray as xr

from lossviz.errors import needing_extra, refuse
from lossviz.files import sha256, shown
from lossviz.official import SUFFIX, official_directions, official_surface
from lossviz.plot.kit.scale import common_scale
from lossviz.plot.series import Options, PlottedRun, lines, planes, scan_name
from lossviz.results import SurfaceResults
from lossviz.results.surface import load_directions

# Contents by the name of the file.
Files = dict[str, bytes]


def exported(runs: Sequence[PlottedRun], formats: Sequence[str], options: Options) -> Files:
    """Files of some runs' scans in some formats; none if no scan has a point.

    Args:
        runs: with their scans.
        formats: names among those of `EXPORTS`.
        options: what is drawn; losses and errors in the files stay as they were measured.

    Raises:
        RequestError: a library is missing, or two scans would have one file.
    """
    contents: Files = {}
    for each in formats:
        for name, content in EXPORTS[each](runs, options):
            if name in contents:
                refuse(name, "would hold two scans", advice="write them one by one, with --out")
            contents[name] = content
    return contents


def _pages(runs: Sequence[PlottedRun], options: Options) -> Iterator[tuple[str, bytes]]:
    # Here, as plotly takes a second to import, and images do not need it.
    with needing_extra("html", "format html"):
        from lossviz.plot.export.page import line_page
        from lossviz.plot.export.plane_page import plane_page
    # The folder of an official file is no experiment.
    own = dict.fromkeys(each.run.experiment for each in runs if each.run.config_file.is_file())
    experiments = f"{', '.join(own)}: " if own else ""
    for stem, series in planes(runs, options.scans).items():
        yield f"{stem}-3d.html", plane_page(f"{experiments}{stem}", series, options)
    for stem, series in lines(runs, options.scans).items():
        yield f"{stem}-line.html", line_page(f"{experiments}{stem}", series, options)


def _grids(runs: Sequence[PlottedRun], options: Options) -> Iterator[tuple[str, bytes]]:
    with needing_extra("vtk", "format vtk"):
        from lossviz.plot.export.paraview import checkpoints_file, grid_file
    found = list(_scans(runs))
    # One scale for the scans that share a figure, so that they can be laid side by side.
    alike: dict[tuple[str, int], list[xr.DataArray]] = {}
    for _, _, path, results in found:
        alike.setdefault(_figure_of(path, results, options), []).append(results.loss)
    for name, _, path, results in found:
        scale = common_scale(alike[_figure_of(path, results, options)], options.log, options.clip)
        yield f"{name}.vts", grid_file(results, scale)
        if "checkpoint_x" in results:
            yield f"{name}-checkpoints.vtp", checkpoints_file(results, scale)


def _figure_of(path: Path, results: xr.Dataset, options: Options) -> tuple[str, int]:
    """What the scans of one figure have in common: their name, unless files were named, and their dimensions."""
    return "" if options.scans else path.stem, results.loss.ndim


def _official(runs: Sequence[PlottedRun], _: Options) -> Iterator[tuple[str, bytes]]:
    for name, each, path, results in _scans(runs):
        directions = _directions(each, path, results)
        directions_name = f"{name.replace('surface-', 'directions-', 1)}.h5" if directions else ""
        yield f"{name}.h5", official_surface(results, directions_name)
        if directions:
            yield directions_name, directions


def _directions(each: PlottedRun, path: Path, results: xr.Dataset) -> bytes:
    """The directions of a scan in the order of the network's parameters; nothing if order or file is missing."""
    file = each.run.directions_file(scan_name(path))
    order = str(results.attrs.get("parameters", "")).split()
    if not order or not file.exists():
        return b""
    began = str(results.attrs.get("directions_sha256", ""))
    if began and sha256(file) != began:
        refuse(shown(file), f"holds other directions than {shown(path)} began with", advice="put those back")
    tensors = load_directions(file)
    axes = [axis for axis in ("x", "y") if any(name.startswith(f"{axis}/") for name in tensors)]
    missing = [name for name in order if any(f"{axis}/{name}" not in tensors for axis in axes)]
    if missing:
        refuse(shown(file), f"has no direction of {missing[0]}", advice="it belongs to another scan")
    return official_directions({axis: [tensors[f"{axis}/{name}"] for name in order] for axis in axes})


def _scans(runs: Sequence[PlottedRun]) -> Iterator[tuple[str, PlottedRun, Path, xr.Dataset]]:
    """Every scan that has a point, under the name of its file without the ending."""
    for each in runs:
        for path, results in each.surfaces.items():
            if not SurfaceResults(results).is_empty:
                run = "" if path.suffix == SUFFIX else f"-{each.label.replace('/', '-')}"
                yield f"surface-{scan_name(path)}{run}", each, path, results


EXPORTS: dict[str, Callable[[Sequence[PlottedRun], Options], Iterator[tuple[str, bytes]]]] = {
    "html": _pages,
    "vtk": _grids,
    "h5": _official,
}
