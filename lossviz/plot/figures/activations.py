"""The figure `activations`: distributions of each layer's activations as ridges (Santurkar et al. 2018, figure 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray

from lossviz.plot.figure import FigureKind
from lossviz.plot.figures.layers import layer_columns, layer_titles, layers_of
from lossviz.plot.kit.axes import Floats, key_below, mark_beside
from lossviz.plot.kit.style import KEY
from lossviz.plot.needs import Probed
from lossviz.plot.series import DEFAULT, Options, Series

# Heights of a usual ridge and of the room above the first, in distances between ridges.
TALL = 3.5
ROOM = 4.5
# Inches that many runs share.
PAGE = 8.4
# Ranges of x that differ more between the runs are not shared: the narrowest would be a needle.
ALIKE = 5.0
# More would hide each other.
MOST = 25
# Share of the activations at either end that a panel need not show; a single one may lie far out.
_TAIL = 0.002


@dataclass(frozen=True)
class Ridge:
    """The distribution at one step."""

    step: int
    edges: Floats
    density: Floats
    complete: bool

    @property
    def middles(self) -> Floats:
        """The middles of the bins."""
        return np.asarray((self.edges[:-1] + self.edges[1:]) / 2)

    def quantiles(self, *shares: float) -> Floats:
        """The values below which given shares of the activations lie."""
        below = np.r_[0, np.cumsum(self.density * np.diff(self.edges))]
        return np.interp(shares, below, self.edges)


def thinned(steps: NDArray[np.integer]) -> NDArray[np.integer]:
    """Every n-th step, with the smallest n that gives at most 25."""
    return steps[:: -(-len(steps) // MOST)]


def nearest(steps: NDArray[np.integer], wanted: NDArray[np.integer]) -> NDArray[np.integer]:
    """The steps of a run that come nearest to those wanted, as far as the run goes."""
    within = wanted[wanted <= steps[-1]]
    return steps[sorted({int(np.abs(steps - step).argmin()) for step in within})]


def ridges_of(results: xr.Dataset, layer: int, steps: NDArray[np.integer]) -> list[Ridge]:
    """The distributions of a layer at some steps; none where the layer was not measured."""
    if layer not in results.layer.values:
        return []
    here = results.sel(layer=layer, step=steps)
    complete = np.isfinite(here.activation_mean.values) & np.isfinite(here.activation_variance.values)
    ridges = []
    for i, step in enumerate(here.step.values.tolist()):
        counts, edges = here.activation_histogram.values[i].astype(float), here.activation_edge.values[i].astype(float)
        total = counts.sum()
        known = bool(total > 0 and np.isfinite(edges).all())
        density = counts / total / np.diff(edges) if known else np.zeros_like(counts)
        ridges.append(Ridge(step, edges if known else np.linspace(0, 1, len(edges)), density, known and complete[i]))
    return ridges


def span(ridges: Sequence[Ridge]) -> tuple[float, float] | None:
    """The range that holds the activations of nearly all steps, but for the ends of their tails."""
    ends = np.array([ridge.quantiles(_TAIL, 1 - _TAIL) for ridge in ridges if ridge.density.any()])
    return (float(np.quantile(ends[:, 0], 0.05)), float(np.quantile(ends[:, 1], 0.95))) if len(ends) else None


def draw_activations(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw the histograms of every run and layer behind one another, the earliest at the back."""
    layers = layers_of(series)
    steps = np.unique(np.concatenate([each.results.step.values for each in series]))
    wanted = thinned(steps)
    gap = _gap(wanted)
    picked = [nearest(each.results.step.values, wanted) for each in series]
    drawn, grid = layer_columns(layers, len(series), min(1.5, PAGE / len(series)), "all")
    for column, layer in enumerate(layers):
        panels = [ridges_of(each.results, layer, at) for each, at in zip(series, picked, strict=True)]
        for row, (each, ridges) in enumerate(zip(series, panels, strict=True)):
            _draw_ridges(grid[row][column], each, ridges, wanted)
        _fix_ranges([axes[column] for axes in grid], [span(ridges) for ridges in panels])
    grid[0][0].set_ylim(steps[-1] + 0.7 * gap, steps[0] - ROOM * gap)
    ticks = np.asarray(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]).tick_values(steps[0], steps[-1]))
    grid[0][0].yaxis.set_major_locator(FixedLocator(list(ticks[(ticks >= steps[0]) & (ticks <= steps[-1])])))
    for axes, each in zip(grid, series, strict=True):
        axes[0].set_ylabel("step")
        _name_row(axes[0], each)
    for ax in grid[-1]:
        ax.set_xlabel("activation")
    layer_titles(drawn, layers, grid[0])
    key_below(drawn, _key(series, picked, len(layers)))
    return drawn


def _gap(steps: NDArray[np.integer]) -> float:
    return float(steps[-1] - steps[0]) / max(1, len(steps) - 1) or 1.0


def _name_row(ax: Axes, each: Series) -> None:
    """The run, left of the axis of the steps."""
    name = "\n".join(wrap(each.label, 20) + wrap(each.note, 20))
    place: dict[str, Any] = {"xycoords": ax.yaxis.label, "xytext": (-3, 0), "textcoords": "offset points"}
    style: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "weight": "bold"}
    ax.annotate(name, (0, 0.5), **place, **style, color=each.look.colour)


def _draw_ridges(ax: Axes, each: Series, ridges: Sequence[Ridge], wanted: NDArray[np.integer]) -> None:
    gap, whole = _gap(wanted), max(1, wanted[-1] - wanted[0])
    peaks = [ridge.density.max() for ridge in ridges if ridge.density.any()]
    # A needle, such as before the first steps, is cut by the panel and does not flatten the others.
    unit = TALL * gap / np.quantile(peaks, 0.9) if peaks else 0.0
    for place, ridge in enumerate(ridges):
        late = min(1.0, (ridge.step - wanted[0]) / whole)
        height = unit * ridge.density
        # Beyond, where there is next to nothing, a line would only say how far a single activation went.
        high = np.flatnonzero(height > 0.03 * gap)
        where = slice(high[0], high[-1] + 1) if len(high) else slice(0)
        x, top = ridge.middles[where], (ridge.step - height)[where]
        order = 2 + place / 1000
        ax.fill_between(x, ridge.step, top, facecolor=_shade(each, late), linewidth=0, zorder=order, label=each.label)
        ax.plot(x, top, color=_shade(each, 1.4), linewidth=0.4, zorder=order)
        if not ridge.complete:
            mark_beside(ax, ridge.step, each.look)


def _shade(each: Series, late: float) -> tuple[float, ...]:
    """The colour of the run: pale at 0, itself at 1, darker beyond."""
    colour = np.array(to_rgb(each.look.colour))
    strength = 0.2 + 0.8 * late
    return tuple(1 - strength * (1 - colour) if late <= 1 else colour * (2 - strength))


def _fix_ranges(axes: Sequence[Axes], spans: Sequence[tuple[float, float] | None]) -> None:
    """The same horizontal axis in all rows of a column, unless one run would be a needle on it."""
    known = [span for span in spans if span]
    if not known:
        return
    widths = [high - low for low, high in known]
    low, high = min(low for low, _ in known), max(high for _, high in known)
    alike = high - low <= ALIKE * min(widths)
    for ax, own in zip(axes, spans, strict=True):
        left, right = (low, high) if alike or own is None else own
        margin = 0.05 * (right - left)
        ax.set_xlim(left - margin, right + margin)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for ax in axes[:-1]:
        ax.tick_params(labelbottom=not alike)


def _key(series: Sequence[Series], picked: Sequence[NDArray[np.integer]], columns: int) -> dict[str, Artist]:
    measured = max(each.results.sizes["step"] for each in series)
    drawn = max(map(len, picked))
    which = f"at {drawn} of {measured} measured steps" if drawn < measured else "at every measured step"
    space = "\n" if columns == 1 else " "
    entry = f"density before the non-linearity {which};{space}each panel has its own scale of heights"
    return {entry: Patch(facecolor="#BBBBBB", edgecolor=KEY, linewidth=0.35)}


FIGURES = (FigureKind("activations", Probed("activation_histogram", measure="activations"), draw_activations),)
