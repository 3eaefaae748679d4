"""Which figures the results of some runs make."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

from lossviz.plot import activations, landscape, moments, probed, scan, sharpness, shift, training
from lossviz.plot.contour import contour
from lossviz.plot.heatmap import heatmap
from lossviz.plot.line import line
from lossviz.plot.options import Options
from lossviz.plot.reference import published
from lossviz.plot.relief import relief
from lossviz.plot.series import Series, Shown
from lossviz.results import load_results

# File name without its ending, and how to draw it.
Drawings = dict[str, Callable[[], Figure]]


def _training(runs: Sequence[Shown], options: Options) -> Drawings:
    series = []
    for each in runs:
        results = _load(each.run.train_file)
        if results is not None and not training.is_empty(results):
            curves = published("training", each.run.config()) if options.reference else {}
            series.append(Series(each.label, each.look, results, training.note(results), curves))
    return {"training": partial(training.figure, series, log=options.log)} if series else {}


def _landscape(runs: Sequence[Shown], options: Options) -> Drawings:
    series = _probed(runs, "path_loss", options)
    return {"landscape": partial(landscape.figure, series, log=options.log)} if series else {}


def _activations(runs: Sequence[Shown], options: Options) -> Drawings:
    series = _probed(runs, "activation_histogram", options)
    return {"activations": partial(activations.figure, series)} if series else {}


def _moments(runs: Sequence[Shown], options: Options) -> Drawings:
    series = _probed(runs, "activation_mean", options)
    return {"moments": partial(moments.figure, series)} if series else {}


def _shift(runs: Sequence[Shown], options: Options) -> Drawings:
    series = _probed(runs, "shift_l2", options)
    return {"shift": partial(shift.figure, series)} if series else {}


def _sharpness(runs: Sequence[Shown], options: Options) -> Drawings:
    series = _probed(runs, "hessian_eigenvalue", options)
    return {"sharpness": partial(sharpness.figure, series)} if series else {}


def _surfaces(runs: Sequence[Shown], options: Options) -> Drawings:
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
            drawings[f"{stem}-{kind}"] = partial(plane, series, log=options.log, clip=options.clip)
    for stem, series in lines.items():
        drawings[f"{stem}-line"] = partial(line, series, log=options.log, clip=options.clip)
    return drawings


FIGURES: dict[str, Callable[[Sequence[Shown], Options], Drawings]] = {
    "training": _training,
    "landscape": _landscape,
    "activations": _activations,
    "moments": _moments,
    "shift": _shift,
    "sharpness": _sharpness,
    "surface": _surfaces,
}


def _probed(runs: Sequence[Shown], quantity: str, options: Options) -> list[Series]:
    """The runs whose probe.nc has a quantity."""
    series = []
    for each in runs:
        results, trained = _load(each.run.probe_file), _load(each.run.train_file)
        if results is not None and probed.has(results, quantity):
            diverged_at = None if trained is None else trained.attrs.get("diverged_at")
            curves = published("landscape", each.run.config()) if options.reference else {}
            series.append(Series(each.label, each.look, results, probed.note(results, diverged_at), curves))
    return series


def _load(path: Path) -> xr.Dataset | None:
    return load_results(path) if path.exists() else None
