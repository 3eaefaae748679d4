"""Which scans share a figure: those of one name, or those whose files were named on the command line."""

from collections.abc import Callable, Sequence
from pathlib import Path

import xarray as xr

from lossviz.official import SUFFIX
from lossviz.plot.series import PlottedRun, Series, scan_note
from lossviz.results import SurfaceResults

# Names of scans that the name of one figure can hold.
_NAMES = 3
# In characters; our own names are not longer.
_LONG = 100


def planes(runs: Sequence[PlottedRun], files: Sequence[Path] = ()) -> dict[str, list[Series]]:
    """The scans with x and y, by the first part of the name of their figure: surface-<name>.

    Args:
        runs: their scans of one name share a figure.
        files: when some were named, these share one figure, in this order.
    """
    return _grouped(runs, files, lambda results: "y" in results.dims)


def lines(runs: Sequence[PlottedRun], files: Sequence[Path] = ()) -> dict[str, list[Series]]:
    """The scans with x only, like `planes`."""
    return _grouped(runs, files, lambda results: "y" not in results.dims)


def scan_name(path: Path) -> str:
    """The scan's `surface.name`; for an official file, the two ends of its name if it is long."""
    name = path.stem.removeprefix("surface-")
    return name if len(name) <= _LONG else f"{name[: _LONG // 2]}...{name[-_LONG // 2 :]}"


def _grouped(
    runs: Sequence[PlottedRun], files: Sequence[Path], fits: Callable[[xr.Dataset], bool]
) -> dict[str, list[Series]]:
    found = [
        (path, run)
        for run in runs
        for path, results in run.surfaces.items()
        if fits(results) and not SurfaceResults(results).is_empty
    ]
    if files:
        found.sort(key=lambda each: files.index(each[0]))
        names = list(dict.fromkeys(scan_name(path) for path, _ in found))
        further = f"+{len(names) - _NAMES}" if len(names) > _NAMES else ""
        stem = f"surface-{'+'.join(names[:_NAMES])}{further}"
        return {stem: [_series(path, run, _label(path, run, found)) for path, run in found]} if found else {}
    grouped: dict[str, list[Series]] = {}
    for path, run in found:
        grouped.setdefault(path.stem, []).append(_series(path, run, run.label))
    return grouped


def _label(path: Path, run: PlottedRun, found: Sequence[tuple[Path, PlottedRun]]) -> str:
    """The label of a scan that was named on the command line: its run, its name, or both."""
    names = [scan_name(other) for other, _ in found]
    if path.suffix == SUFFIX:
        # The folder of an official file is no run, and says nothing but where it lies.
        return scan_name(path) if names.count(scan_name(path)) == 1 else f"{run.label}/{scan_name(path)}"
    several_names, several_runs = len(set(names)) > 1, len({other.run.folder for _, other in found}) > 1
    parts = [run.label] if several_runs or not several_names else []
    return "/".join([*parts, scan_name(path)] if several_names else parts)


def _series(path: Path, run: PlottedRun, label: str) -> Series:
    results, directions = run.surfaces[path], run.run.directions_file(scan_name(path))
    return Series(label, run.look, results, scan_note(SurfaceResults(results)), directions=directions)
