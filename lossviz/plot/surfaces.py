"""Which figures the scans of some runs make."""

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.figure import Figure

from lossviz.errors import RequestError
from lossviz.plot.checkpoints import has_path
from lossviz.plot.contour import contour
from lossviz.plot.convexity import convexity
from lossviz.plot.difference import difference
from lossviz.plot.heatmap import heatmap
from lossviz.plot.line import line
from lossviz.plot.options import Options
from lossviz.plot.relief import relief
from lossviz.plot.scans import lines, planes
from lossviz.plot.seeds import seed_groups, seeds
from lossviz.plot.series import Shown
from lossviz.plot.trajectory import trajectory

# File name without its ending, and how to draw it.
Drawings = dict[str, Callable[[], Figure]]


def _plane(kind: str, runs: Sequence[Shown], options: Options) -> Drawings:
    return {
        f"{stem}-{kind}": partial(_PLANES[kind], series, log=options.log, clip=options.clip)
        for stem, series in planes(runs, options.scans).items()
    }


def _line(runs: Sequence[Shown], options: Options) -> Drawings:
    return {
        f"{stem}-line": partial(line, series, log=options.log, clip=options.clip)
        for stem, series in lines(runs, options.scans).items()
    }


def _surface(runs: Sequence[Shown], options: Options) -> Drawings:
    return {stem: make for kind in _KINDS.values() for stem, make in kind(runs, options).items()}


def _difference(runs: Sequence[Shown], options: Options) -> Drawings:
    given = [str(path) for path in options.scans] or [str(each.run.folder) for each in runs]
    if len(given) != 2:
        raise RequestError(
            f"figure difference: is of two planes, and there are {len(given)}: {', '.join(given)}\n"
            "  name two runs that have a scan of the same name, or two files surface-NAME.nc; the first is subtracted"
        )
    return {
        f"{stem}-difference": partial(difference, series, log=options.log, clip=options.clip)
        for stem, series in planes(runs, options.scans).items()
        if len(series) == 2
    }


def _seeds(runs: Sequence[Shown], options: Options) -> Drawings:
    return {
        f"{stem}-seeds": partial(seeds, series, log=options.log, clip=options.clip)
        for stem, series in seed_groups(runs).items()
    }


def _convexity(runs: Sequence[Shown], options: Options) -> Drawings:
    drawings: Drawings = {}
    for stem, series in planes(runs, options.scans).items():
        curved = [each for each in series if {"hessian_max", "hessian_min"} <= set(each.results)]
        if curved:
            drawings[f"{stem}-convexity"] = partial(convexity, curved)
    return drawings


def _trajectory(runs: Sequence[Shown], options: Options) -> Drawings:
    drawings: Drawings = {}
    for stem, series in planes(runs, options.scans).items():
        paths = [each for each in series if has_path(each.results)]
        if paths:
            drawings[f"{stem}-trajectory"] = partial(trajectory, paths, log=options.log, clip=options.clip)
    return drawings


_PLANES = {"contour": contour, "heatmap": heatmap, "3d": relief}
# What the figure `surface` consists of.
_KINDS: dict[str, Callable[[Sequence[Shown], Options], Drawings]] = {
    **{kind: partial(_plane, kind) for kind in _PLANES},
    "line": _line,
}
SURFACE_FIGURES: dict[str, Callable[[Sequence[Shown], Options], Drawings]] = {
    "surface": _surface,
    **_KINDS,
    "difference": _difference,
    "seeds": _seeds,
    "convexity": _convexity,
    "trajectory": _trajectory,
}
# Drawn only when they are asked for by name; the kinds are drawn with `surface`.
ON_REQUEST = (*_KINDS, "difference")
