"""From runs on disk to image files."""

import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from lossviz.errors import RequestError
from lossviz.files import atomic_write
from lossviz.plot import landscape, scan, style, training
from lossviz.plot.contour import contour
from lossviz.plot.heatmap import heatmap
from lossviz.plot.line import line
from lossviz.plot.relief import relief
from lossviz.plot.series import Series, Shown, appearing
from lossviz.results import load_results
from lossviz.run import Run

Clip = tuple[float, float] | None
# File name without its ending, and how to draw it.
Drawings = dict[str, Callable[[], Figure]]

# No dates: the same results give the same bytes.
FORMATS: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def draw(  # noqa: PLR0913 - the options of the command line
    runs: Sequence[Run],
    *,
    figures: Sequence[str] = (),
    formats: Sequence[str] = ("png",),
    folder: Path | None = None,
    log: bool | None = None,
    clip: tuple[float, float] | None = None,
) -> list[Path]:
    """Draw everything there is on disk of the runs, which share axes, scales and legends.

    Args:
        runs: variants, of one experiment or of several.
        figures: names among training, landscape and surface; all that there is when empty.
        formats: names among png, pdf and svg.
        folder: where the images go; by default `figures` beside the first run.
        log: whether the loss is on a logarithmic scale; None: each figure decides.
        clip: limits beyond which the losses of surfaces are drawn as the limit; the results are not touched.

    Raises:
        RequestError: an unknown name, or nothing to draw; says which command makes what is missing.
    """
    _refuse_unknown("figure", figures, FIGURES)
    _refuse_unknown("format", formats, FORMATS)
    if clip is not None and not clip[0] < clip[1]:
        raise RequestError(f"clip = [{clip[0]:g}, {clip[1]:g}]: the first must be below the second")
    folder = folder or runs[0].folder.parent / "figures"
    there = {name: FIGURES[name](appearing(runs), log, clip) for name in figures or FIGURES}
    missing = [name for name, drawings in there.items() if not drawings]
    if missing and (figures or len(missing) == len(there)):
        raise RequestError(_missing(missing, runs))
    paths = []
    with style.applied():
        # All before the first is written: a request that one of them refuses leaves nothing behind.
        drawn = {stem: make() for drawings in there.values() for stem, make in drawings.items()}
        for stem, figure in drawn.items():
            for each in dict.fromkeys(formats):
                paths.append(folder / f"{stem}.{each}")
                atomic_write(paths[-1], _rendered(figure, each))
    return paths


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=FORMATS[kind])
    return buffer.getvalue()


def _training(runs: Sequence[Shown], log: bool | None, _: Clip) -> Drawings:
    series = []
    for each in runs:
        results = _load(each.run.train_file)
        if results is not None and not training.is_empty(results):
            series.append(Series(each.label, each.look, results, training.note(results)))
    return {"training": partial(training.figure, series, log=log)} if series else {}


def _landscape(runs: Sequence[Shown], log: bool | None, _: Clip) -> Drawings:
    series = []
    for each in runs:
        results, trained = _load(each.run.probe_file), _load(each.run.train_file)
        if results is not None and not landscape.is_empty(results):
            diverged_at = -1 if trained is None else int(trained.attrs["diverged_at"])
            series.append(Series(each.label, each.look, results, landscape.note(results, diverged_at)))
    return {"landscape": partial(landscape.figure, series, log=log)} if series else {}


def _surfaces(runs: Sequence[Shown], log: bool | None, clip: Clip) -> Drawings:
    planes: dict[str, list[Series]] = {}
    lines: dict[str, list[Series]] = {}
    for each in runs:
        for path in each.run.surface_files:
            results = load_results(path)
            if not scan.is_empty(results):
                scans = planes if "y" in results.dims else lines
                scans.setdefault(path.stem, []).append(Series(each.label, each.look, results, scan.note(results)))
    drawings: Drawings = {}
    for stem, series in planes.items():
        for kind, plane in {"contour": contour, "heatmap": heatmap, "3d": relief}.items():
            drawings[f"{stem}-{kind}"] = partial(plane, series, log=log, clip=clip)
    for stem, series in lines.items():
        drawings[stem] = partial(line, series, log=log, clip=clip)
    return drawings


FIGURES = {"training": _training, "landscape": _landscape, "surface": _surfaces}


def _load(path: Path) -> xr.Dataset | None:
    return load_results(path) if path.exists() else None


def _refuse_unknown(what: str, names: Sequence[str], known: Iterable[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(f"there is no {what} {', '.join(unknown)}\n  {what}s: {', '.join(known)}")


def _missing(figures: Sequence[str], runs: Sequence[Run]) -> str:
    places = list(dict.fromkeys(str(run.folder.parent) for run in runs)) if len(runs) > 1 else [str(runs[0].folder)]
    commands = {
        "training": ("train.nc", "train", [str(run.config_file) for run in runs]),
        "landscape": ("probe.nc", "probe", places),
        "surface": ("surface-*.nc", "surface", places),
    }
    lines = [f"{', '.join(places)}: nothing to draw"]
    for name in figures:
        file, command, targets = commands[name]
        likewise = f" (and the same for {', '.join(targets[1:])})" if targets[1:] else ""
        lines.append(f"  {name}: no {file}, or nothing in it yet; made by: lossviz {command} {targets[0]}{likewise}")
    return "\n".join(lines)
