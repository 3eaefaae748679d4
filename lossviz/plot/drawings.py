"""Which figures the results of some runs make."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import xarray as xr

from lossviz.plot import activations, landscape, moments, probed, residual, residual_table, sharpness, shift, training
from lossviz.plot.networks import Network, compares, networks
from lossviz.plot.options import Options
from lossviz.plot.reference import published
from lossviz.plot.series import Series, Shown
from lossviz.plot.surfaces import ON_REQUEST, SURFACE_FIGURES, Drawings
from lossviz.results import load_results


def _training(runs: Sequence[Shown], options: Options) -> Drawings:
    series = []
    for each in runs:
        results = _load(each.run.train_file)
        if results is not None and not training.is_empty(results):
            config = each.run.config()
            curves = published("training", config) if options.reference else {}
            note, remark = training.note(results), training.remark(each.label, config)
            series.append(Series(each.label, each.look, results, note, remark, published=curves))
    return {"training": partial(training.figure, series, log=options.log)} if series else {}


def _residual(runs: Sequence[Shown], options: Options) -> Drawings:
    return {stem: partial(residual.figure, members) for stem, members in _families(runs, options.reference).items()}


def residual_tables(runs: Sequence[Shown]) -> dict[str, str]:
    """The numbers beside the figure `residual`, as Markdown, by file name without its ending."""
    return {f"{stem}-table": residual_table.table(members) for stem, members in _families(runs).items()}


def _families(runs: Sequence[Shown], reference: bool = False) -> dict[str, list[Network]]:
    """The networks of each figure: those of ImageNet and of small images have no axis in common."""
    found = networks(runs, reference)
    return {"residual" if len(found) == 1 else f"residual-{name}": members for name, members in found.items()}


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


FIGURES: dict[str, Callable[[Sequence[Shown], Options], Drawings]] = {
    "training": _training,
    "residual": _residual,
    "landscape": _landscape,
    "activations": _activations,
    "moments": _moments,
    "shift": _shift,
    "sharpness": _sharpness,
    **SURFACE_FIGURES,
}


def default_figures(runs: Sequence[Shown], options: Options) -> list[str]:
    """What is drawn when no figure is named: all there is to say of the runs, or what named scans make."""
    left_out = ON_REQUEST if compares(runs) else (*ON_REQUEST, "residual")
    return [name for name in (SURFACE_FIGURES if options.scans else FIGURES) if name not in left_out]


def _probed(runs: Sequence[Shown], quantity: str, options: Options) -> list[Series]:
    """The runs whose probe.nc has a quantity."""
    series = []
    for each in runs:
        results, trained = _load(each.run.probe_file), _load(each.run.train_file)
        if results is not None and probed.has(results, quantity):
            diverged_at = None if trained is None else trained.attrs.get("diverged_at")
            curves = published("landscape", each.run.config()) if options.reference else {}
            note = probed.note(results, diverged_at)
            series.append(Series(each.label, each.look, results, note, trained=trained, published=curves))
    return series


def _load(path: Path) -> xr.Dataset | None:
    return load_results(path) if path.exists() else None
