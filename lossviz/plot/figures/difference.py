"""The figure `difference`: the loss of one plane minus that of another, point by point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lossviz.config.merging import differences
from lossviz.errors import refuse
from lossviz.files import shown
from lossviz.plot.figure import FigureKind, on_request
from lossviz.plot.kit.axes import STEEP, Floats, finite, with_unit
from lossviz.plot.kit.cells import Places, draw_cells, lattice, moves_contours
from lossviz.plot.kit.labels import mark_checkpoints, short_name
from lossviz.plot.kit.panels import colour_bar, square_panels, surface_key
from lossviz.plot.kit.scale import Scale, extension
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, PlottedRun, Series, scan_note
from lossviz.results import DONE, NOT_FINITE, TO_DO, SurfaceResults, difference_stderr
from lossviz.results.surface import load_directions, matching_points

COLOURS = "RdBu_r"
# The same keys mean the same plane if directions are drawn or computed; files lie elsewhere in every run.
_PLACES = ("checkpoints", "path")
# What may differ between two scans of one plane, and what it is called before its value.
_PROTOCOL = {"split": "", "checkpoint": "", "batch_norm": "BatchNorm ", "examples": "N = "}
_DECADES = 3
_SAMPLED = ("loss_deviation", "examples", "precise_examples")
# What two sampled scans have in common that see the same examples in the same order.
_EXAMPLES = ("data_sha256", "seed", "examples", "choose", "split")
# Relative to the length of a direction.
_ROUNDING = 1e-5
_ZERO: dict[str, Any] = {"colors": "black", "linewidths": 0.8}


def draw_difference(pair: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw the loss of the second minus that of the first, in colours symmetric about zero, and the contour of zero.

    Args:
        pair: two scans with x and y.
        options: log and clip.

    Raises:
        RequestError: the planes differ.
    """
    first, second = pair
    results = subtracted(first, second)
    what, before = _labels(second, first)
    notes = [scan_note(SurfaceResults(results))]
    if "difference_stderr" in results:
        notes.append(f"standard error {float(results.difference_stderr.median()):.2g} (median)")
    apart = Series(f"{what}\nminus {before}", second.look, results, ", ".join(filter(None, notes)))
    label = with_unit([each.results.loss for each in pair], "difference of the loss")
    scale, norm = _scale(finite([SurfaceResults(results).values("difference")]), options, label)
    drawn, (ax,) = square_panels([apart], "difference")
    draw_cells(ax, results, "difference", COLOURS, norm)
    _draw_zero(ax, lattice(results))
    mark_checkpoints(ax, results)
    colour_bar(drawn, ScalarMappable(norm, COLOURS), scale, [ax], _ticks(norm, scale.high))
    surface_key(drawn, [apart], {"equal loss": Line2D([], [], color="black", linewidth=0.8)})
    return drawn


def subtracted(first: Series, second: Series) -> xr.Dataset:
    """The `difference` of the losses, second minus first, at the points that both planes have, and its status.

    Raises:
        RequestError: the directions differ, or an axis has less than two common points.
    """
    _refuse_other_directions(first, second)
    places = {axis: _common(first, second, axis) for axis in ("x", "y")}
    one, two = (
        each.results[["loss", "status", *(_SAMPLED if "loss_deviation" in each.results else ())]].isel(
            {axis: both[which] for axis, both in places.items()}
        )
        for which, each in enumerate((first, second))
    )
    two = two.assign_coords(x=one.x, y=one.y)
    missing = (one.status == TO_DO) | (two.status == TO_DO)
    bad = (one.status == NOT_FINITE) | (two.status == NOT_FINITE)
    apart = (two.loss - one.loss).where(~(missing | bad))
    status = xr.full_like(one.status, DONE).where(~bad, NOT_FINITE).where(~missing, TO_DO)
    protocol = {key: first.results.attrs.get(key) for key in _PROTOCOL if not _differs(first, second, key)}
    return xr.Dataset(
        {"difference": apart, "status": status, **_errors(first, second, one, two)},
        attrs={key: value for key, value in protocol.items() if value is not None},
    )


def _errors(first: Series, second: Series, one: xr.Dataset, two: xr.Dataset) -> dict[str, xr.DataArray]:
    """The standard error of the difference; of two sampled scans of the same examples it is paired."""
    sampled = [each for each in (one, two) if "loss_deviation" in each]
    if not sampled:
        return {}
    there, here = ([each.results.attrs.get(key) for key in _EXAMPLES] for each in (first, second))
    if len(sampled) == 2 and there == here:
        return {"difference_stderr": difference_stderr(two, one)}
    squares = sum(((each.loss_deviation**2).sum("group", skipna=False) for each in sampled), xr.DataArray(0.0))
    return {"difference_stderr": squares**0.5}


def _labels(first: Series, second: Series) -> tuple[str, str]:
    """The labels, with what differs in the protocol."""
    differing = [key for key in _PROTOCOL if _differs(first, second, key)]
    if "split" in differing and "examples" in differing:
        differing.remove("examples")  # splits have different sizes
    one, two = (
        ", ".join([each.label, *(f"{_PROTOCOL[key]}{_value(each.results.attrs[key])}" for key in differing)])
        for each in (first, second)
    )
    return one, two


def _value(value: str | int) -> str:
    return short_name(value) if isinstance(value, str) else f"{value:,}"


def _differs(first: Series, second: Series, key: str) -> bool:
    there, here = (each.results.attrs.get(key) for each in (first, second))
    return None not in (there, here) and there != here


def _common(first: Series, second: Series, axis: str) -> tuple[Places, Places]:
    """The places on both axes of coordinates that agree up to rounding."""
    one, two = first.results[axis].values, second.results[axis].values
    places = matching_points(one, two)
    agrees = places >= 0
    if agrees.sum() < 2:
        lines = [
            f"{each.label}: {axis} = [{values[0]:g}, {values[-1]:g}, {len(values)}]"
            for each, values in ((first, one), (second, two))
        ]
        lines += [f"scan one again with the surface.{axis} of the other, or with a grid that holds it"]
        subject = f"a difference needs points that both planes have, and along {axis} they differ"
        refuse(subject, advice="\n".join(lines))
    return np.flatnonzero(agrees), places[agrees]


def _refuse_other_directions(first: Series, second: Series) -> None:
    problem = _planes_apart(first, second)
    if problem:
        advice = "scan one again with the directions of the other"
        refuse(f"a difference needs the same plane, and {problem}", advice=advice)


def _planes_apart(first: Series, second: Series) -> str:
    """Why two planes differ, or empty: by stored directions for one checkpoint, by keys for two."""
    stored = [each.results.attrs.get("directions_sha256") for each in (first, second)]
    there, here = first.surface.directions, second.surface.directions
    # Equal tensors are equal files, whatever the configurations say of where they come from.
    if not there or not here or (stored[0] == stored[1] and None not in stored):
        return ""
    apart = ""
    if first.results.attrs.get("checkpoint_sha256") != second.results.attrs.get("checkpoint_sha256"):
        there, here = ({key: value for key, value in each.items() if key not in _PLACES} for each in (there, here))
    elif None not in stored:
        apart = _tensors_apart(first, second)
        if not apart:
            return ""
    for name, before, now in differences(there, here, "surface.directions"):
        return f"{name} = {before} in {first.label}, {now} in {second.label}"
    return apart


def _tensors_apart(first: Series, second: Series) -> str:
    """How the stored directions of two scans differ by more than rounding; empty if they do not.

    Another machine draws the same directions with other last digits; float32 keeps seven of them.
    """
    stored = []
    for each in (first, second):
        if each.directions is None or not each.directions.exists():
            file = f" {shown(each.directions)}" if each.directions else ""
            return f"their directions have other checksums; to compare them, the file{file} of {each.label} is missing"
        stored.append(load_directions(each.directions))
    one, two = stored
    if {name: tensor.shape for name, tensor in one.items()} != {name: tensor.shape for name, tensor in two.items()}:
        return f"the tensors of their directions have other names or shapes in {first.label} than in {second.label}"
    for axis in sorted({name.partition("/")[0] for name in one}):
        names = [name for name in one if name.startswith(f"{axis}/")]
        apart = _norm([one[name].astype(float) - two[name] for name in names])
        length = _norm([one[name].astype(float) for name in names])
        if not apart <= _ROUNDING * length:
            return f"their stored directions {axis} differ by {apart / length:.2g} of their length"
    return ""


def _norm(tensors: Sequence[Floats]) -> float:
    return float(np.sqrt(sum(np.square(each, dtype=float).sum() for each in tensors)))


def _scale(apart: Floats, options: Options, label: str) -> tuple[Scale, Normalize]:
    size, clip = np.abs(apart), options.clip
    widest = float(size.max(initial=0.0)) or 1.0
    limit = widest if clip is None else min(widest, max(abs(edge) for edge in clip))
    extend = extension(bool((apart < -limit).any()), bool((apart > limit).any()))
    shown_clip = None if clip is None else (-limit, limit)
    scale = Scale(-limit, limit, False, shown_clip, extend, label)
    wide = bool(size.size) and limit > STEEP * float(np.median(size)) > 0
    if options.log is True or (options.log is None and wide):
        return scale, SymLogNorm(10.0 ** (np.ceil(np.log10(limit)) - _DECADES), vmin=-limit, vmax=limit)
    return scale, Normalize(-limit, limit)


def _ticks(norm: Normalize, limit: float) -> Floats:
    if not isinstance(norm, SymLogNorm):
        ticks = np.asarray(MaxNLocator(9, symmetric=True).tick_values(-limit, limit))
        return np.asarray(ticks[abs(ticks) <= limit])
    powers = 10.0 ** np.arange(np.log10(norm.linthresh).round(), np.log10(limit) + 1e-9)
    return np.concatenate([-powers[::-1], [0.0], powers])


def _draw_zero(ax: Axes, known: xr.Dataset) -> None:
    grid = np.ma.masked_invalid(SurfaceResults(known).values("difference"))
    if "difference_stderr" in known:  # no line where noise alone may have drawn it
        stderr = SurfaceResults(known).values("difference_stderr")
        grid = np.ma.masked_where(moves_contours(stderr, grid.filled(np.nan)), grid)
    if grid.count() and grid.min() < 0 < grid.max():
        ax.contour(known.x.values, known.y.values, grid, levels=[0.0], **_ZERO)


@dataclass(frozen=True)
class Pair(Planes):
    """Two planes."""

    what: str = "planes of one name in both runs"
    settings: str = "--set surface.name=main"

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Series]]:
        given = [str(path) for path in options.scans] or [str(each.run.folder) for each in runs]
        if len(given) != 2:
            refuse(
                "figure difference",
                f"is of two planes, and there are {len(given)}: {', '.join(given)}",
                advice="name two runs that have a scan of the same name, or two files surface-NAME.nc; the first is "
                "subtracted",
            )
        return {stem: series for stem, series in super().find(name, runs, options).items() if len(series) == 2}


FIGURES = (FigureKind("difference", Pair(), draw_difference, by_default=on_request),)
