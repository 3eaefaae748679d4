"""The runs of a figure: each with its name, its look, its results and what is to be said of them; and its scans."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path

import xarray as xr

from lossviz.config import Config
from lossviz.files import shown
from lossviz.official import SUFFIX, read_official_surface
from lossviz.plot.kit.style import Look, look
from lossviz.plot.published.curves import Published
from lossviz.results import ProbeResults, SurfaceResults, TrainResults, load_results
from lossviz.run import Run

# Names of scans that the name of one figure can hold.
_NAMES = 3
# In characters; our own names are not longer.
_LONG = 100


@dataclass(frozen=True)
class Options:
    """The options of the command line that change what a figure shows.

    Attributes:
        log: whether losses are on a logarithmic scale; None: each figure decides, and figures of scans take one where
            losses span more than a factor 20.
        clip: limits beyond which the losses of surfaces are drawn as the limit; the results are not touched.
        reference: whether published curves are drawn beside the runs that they fit.
        scans: files of scans that share one figure, in this order; none: the scans of one name do.
    """

    log: bool | None = None
    clip: tuple[float, float] | None = None
    reference: bool = False
    scans: tuple[Path, ...] = ()


DEFAULT = Options()


@dataclass(frozen=True)
class PlottedRun:
    """A run as every figure shows it; each of its files is read once.

    Attributes:
        scans: its surface files that are drawn.
        doubts: about those that were read.
    """

    run: Run
    label: str
    look: Look
    scans: tuple[Path, ...] = ()
    doubts: list[str] = field(default_factory=list, compare=False)

    @cached_property
    def config(self) -> Config | None:
        """The configuration that ran; None of the folder of an official file."""
        return self.run.config() if self.run.config_file.is_file() else None

    @cached_property
    def trained(self) -> xr.Dataset | None:
        """The contents of train.nc, where it is there."""
        return self._load(self.run.train_file) if self.run.train_file.exists() else None

    @cached_property
    def probed(self) -> xr.Dataset | None:
        """The contents of probe.nc, where it is there."""
        return self._load(self.run.probe_file) if self.run.probe_file.exists() else None

    @cached_property
    def surfaces(self) -> dict[Path, xr.Dataset]:
        """The contents of its scans."""
        return {path: read_official_surface(path) if path.suffix == SUFFIX else self._scan(path) for path in self.scans}

    def _scan(self, path: Path) -> xr.Dataset:
        results = self._load(path)
        name = SurfaceResults(results).name if self._titles else ""
        if name and name != f"scan {scan_name(path)}":
            self.doubts.append(f"{shown(path)} says that it is {name}, and is drawn by the name of its file")
        return results

    def _load(self, path: Path) -> xr.Dataset:
        # Only a configuration knows what its folder was called when it ran.
        return load_results(path, self._titles)

    @cached_property
    def _titles(self) -> tuple[str, ...]:
        return self.run.titles if self.run.config_file.is_file() else ()


@dataclass(frozen=True)
class Series:
    """The results of one run in one figure.

    Attributes:
        note: what a reader must know, beside the label.
        remark: what a reader must know, in a sentence below the figure.
        trained: the contents of its train.nc, if the results are a probe's.
        directions: the file of the directions, if the results are a scan's.
    """

    label: str
    look: Look
    results: xr.Dataset
    note: str = ""
    remark: str = ""
    trained: xr.Dataset | None = None
    directions: Path | None = None
    published: Mapping[str, Published] = field(default_factory=dict)

    @property
    def legend(self) -> str:
        """The label with what a reader must know about the results."""
        return f"{self.label} ({self.note})" if self.note else self.label

    @property
    def surface(self) -> SurfaceResults:
        """The results, read as a scan."""
        return SurfaceResults(self.results)

    def with_results(self, results: xr.Dataset) -> "Series":
        """The same with what was derived from its results."""
        return replace(self, results=results)


def plotted_runs(runs: Sequence[Run], scans: Sequence[Path] = ()) -> list[PlottedRun]:
    """Give every run its label, its look and its scans: of these files, or of all when there are none.

    A variant has the look of its place in the experiment, whether its siblings are drawn or not; the runs of
    several experiments take the looks in the order given.
    """
    unique = list({run.folder.resolve(): run for run in runs}.values())
    one = len({run.folder.resolve().parent for run in unique}) == 1
    labels = [run.variant if one else f"{run.experiment}/{run.variant}" for run in unique]
    if len(set(labels)) < len(labels):  # the same experiment under two --out folders
        labels = [str(run.folder) for run in unique]
    wanted = [_place(run) if one else place for place, run in enumerate(unique)]
    places: list[int] = []
    for place in wanted:
        places.append(next(free for free in count(place) if free not in places))
    chosen = [[path for path in scans if path.parent.resolve() == run.folder.resolve()] for run in unique]
    files = [tuple(own) if scans else tuple(run.surface_files) for own, run in zip(chosen, unique, strict=True)]
    return [PlottedRun(*each) for each in zip(unique, labels, map(look, places), files, strict=True)]


def training_note(results: TrainResults) -> str:
    """A note if a training diverged or is not finished."""
    if results.diverged_at is not None:
        return f"diverged at step {results.diverged_at}"
    return f"partial: {results.recorded} of {results.planned} steps" if results.recorded < results.planned else ""


def probe_note(results: ProbeResults, trained: TrainResults | None = None) -> str:
    """A note if the training diverged, or if a probe has steps left to measure."""
    diverged_at = None if trained is None else trained.diverged_at
    notes = [f"diverged at step {diverged_at}"] if diverged_at is not None else []
    if results.measured < results.planned:
        notes.append(f"partial: {results.measured} of {results.planned} probes")
    return ", ".join(notes)


def scan_note(results: SurfaceResults) -> str:
    """A note if a scan has points left to compute."""
    missing = results.to_do
    return f"partial: {missing.size - missing.sum():,} of {missing.size:,} points" if missing.any() else ""


def _place(run: Run) -> int:
    # The folder of an official file has no configuration.
    siblings = run.config().siblings if run.config_file.is_file() else ()
    return siblings.index(run.variant) if run.variant in siblings else len(siblings)


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
