"""The figure `seeds`: mean and spread of lines along several random directions."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import xarray as xr
import yaml
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import (
    Floats,
    finite,
    key_below,
    legend_above,
    mark_not_finite,
    panel_titles,
    scale_axis,
)
from lossviz.plot.kit.panels import axis_name, protocol
from lossviz.plot.kit.scale import common_scale
from lossviz.plot.kit.style import KEY, TEXT_WIDTH
from lossviz.plot.needs import Scans
from lossviz.plot.series import DEFAULT, Options, PlottedRun, Series, scan_name, scan_note
from lossviz.results import SurfaceResults

# What two scans may differ in and still be draws of one.
_FREE = ("name", "checkpoint", "batch_size", "compile")


def seed_groups(runs: Sequence[PlottedRun]) -> dict[str, list[Series]]:
    """The lines of each run that differ in surface.directions.seed only, two or more, as one dataset (seed, x).

    Runs whose lines follow the same protocol share a figure, named after its first scan. Lines around a second
    checkpoint of a run have another figure: in one they would look alike.
    """
    grouped: dict[str, list[Series]] = {}
    stems: dict[tuple[object, ...], str] = {}
    for each in runs:
        draws: dict[tuple[str, ...], dict[int, tuple[str, xr.Dataset]]] = {}
        for path, results in each.surfaces.items():
            found = _protocol(results)
            if found is not None:
                draws.setdefault(found[0], {}).setdefault(found[1], (scan_name(path), results))
        enough = {key: by_seed for key, by_seed in draws.items() if len(by_seed) > 1}
        before: Counter[tuple[object, ...]] = Counter()
        for (drawn, *_), by_seed in enough.items():
            seeds = sorted(by_seed)
            around = drawn, str(SurfaceResults(by_seed[seeds[0]][1]).config["surface"].get("checkpoint"))
            figure = *around, before[around]
            before[around] += 1
            if figure not in stems:
                stems[figure] = _free(f"surface-{by_seed[seeds[0]][0]}", set(stems.values()))
            stem = stems[figure]
            lines = [by_seed[seed][1][["loss", "error", "status"]] for seed in seeds]
            together = xr.concat(lines, dim="seed").assign_coords(seed=seeds)
            said = [f"{len(seeds)} directions", *protocol(together), scan_note(SurfaceResults(together))]
            note = ", ".join(filter(None, said))
            grouped.setdefault(stem, []).append(Series(each.label, each.look, together, note))
    return grouped


def _free(name: str, taken: Collection[str]) -> str:
    """A name, with a number where it is taken."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(each for each in numbered if each not in taken)


def _protocol(results: xr.Dataset) -> tuple[tuple[str, ...], int] | None:
    """The settings that draws of one scan share, configuration first, and the seed; None for other scans."""
    view = SurfaceResults(results)
    if not view.config or "y" in results.dims or view.is_empty:
        return None
    surface, directions = view.config["surface"], dict(view.directions)
    seed = directions.pop("seed", None)
    if seed is None:
        return None
    kept = {key: value for key, value in surface.items() if key not in _FREE} | {"directions": directions}
    same = (str(results.attrs.get(name)) for name in ("checkpoint_sha256", "data_sha256"))
    return (yaml.safe_dump([kept, results.x.values.tolist()]), *same), int(str(seed))


def draw_seeds(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw the mean over the directions, a band of one standard deviation (n - 1) on either side, and every line."""
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    errors = finite([each.surface.values("error") for each in series])
    drawn = Figure(figsize=(TEXT_WIDTH if errors.size else 0.6 * TEXT_WIDTH, 2.8), layout="constrained")
    panels = drawn.subplots(1, 2 if errors.size else 1, squeeze=False)[0]
    quantities = ("loss", "error")[: len(panels)]
    scale_axis(panels[0], np.array([scale.low, scale.high]), scale.log)
    for ax, quantity in zip(panels, quantities, strict=True):
        for each in series:
            _draw(ax, each, quantity, scale.clip if quantity == "loss" else None)
        ax.axvline(0, color=KEY, linewidth=0.5, linestyle=":", zorder=0)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.set_xlabel(axis_name(series[0].results, "x"))
    panels[0].set_ylabel(scale.label.replace(", clipped", "\nclipped"))
    if errors.size:
        scale_axis(panels[1], errors, log=False)
        panels[1].set_ylabel("error (%)")
    panel_titles(drawn, *quantities)
    legend_above(drawn, series)
    key: dict[str, Artist] = {
        "mean": Line2D([], [], color=KEY, linewidth=1.2),
        "± standard deviation": Patch(facecolor=KEY, alpha=0.35),
        "each direction": Line2D([], [], color=KEY, linewidth=0.4, alpha=0.6),
        "checkpoint": Line2D([], [], color=KEY, linewidth=0.5, linestyle=":"),
    }
    key_below(drawn, key)
    return drawn


def _draw(ax: Axes, each: Series, quantity: str, clip: tuple[float, float] | None) -> None:
    x, missing = each.results.x.values, each.surface.to_do
    found = np.where(np.isfinite(each.surface.values(quantity)), each.surface.values(quantity), np.nan)
    colour: dict[str, Any] = {"color": each.look.colour}
    for own, known in zip(found, ~missing, strict=True):
        ax.plot(x[known], _clipped(own[known], clip), **colour, linewidth=0.4, alpha=0.6, label="direction")
    # Where a line is not known yet, the mean of the others would be that of other directions.
    whole = ~missing.any(axis=0)
    mean, spread = found[:, whole].mean(axis=0), found[:, whole].std(axis=0, ddof=1)
    low, high = _clipped(mean - spread, clip), _clipped(mean + spread, clip)
    ax.fill_between(x[whole], low, high, facecolor=each.look.fill, linewidth=0, zorder=1, label="band")
    ax.plot(x[whole], _clipped(mean, clip), **colour, linestyle=each.look.line, linewidth=1.4, label=each.label)
    if quantity == "loss":
        mark_not_finite(ax, x[(~missing & np.isnan(found)).any(axis=0)], each.look)


def _clipped(heights: Floats, clip: tuple[float, float] | None) -> Floats:
    return heights if clip is None else np.clip(heights, *clip)


@dataclass(frozen=True)
class Draws(Scans):
    """Lines along several random directions."""

    what: str = "lines that differ in surface.directions.seed only"
    settings: str = (
        "--set surface.name=seed1 --set surface.y=null --set 'surface.directions={kind: random, seed: 1}', and further "
        "ones with another name and seed"
    )

    def find(self, name: str, runs: Sequence[PlottedRun], _: Options) -> Mapping[str, Sequence[Series]]:
        return {f"{stem}-{name}": series for stem, series in seed_groups(runs).items()}


FIGURES = (FigureKind("seeds", Draws(), draw_seeds),)
