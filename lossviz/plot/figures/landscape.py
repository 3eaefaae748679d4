"""The figure `landscape`: the loss and its gradient along the gradient (Santurkar et al. 2018, figure 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import NDArray

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import (
    Floats,
    finite,
    key_below,
    legend_above,
    mark_not_finite,
    panel_titles,
    scale_axis,
    step_axis,
    with_unit,
)
from lossviz.plot.kit.curves import draw_published, published_key, published_values
from lossviz.plot.kit.style import KEY, TEXT_WIDTH
from lossviz.plot.needs import Probed
from lossviz.plot.series import DEFAULT, Options, Series

# Points by which bars of different variants at the same step are moved apart.
APART = 5.0


@dataclass(frozen=True)
class Band:
    """The range over the step lengths, at every step."""

    step: NDArray[np.integer]
    low: Floats
    high: Floats
    not_finite: NDArray[np.bool_]

    def width(self, log: bool) -> float:
        """The share of a panel that it covers, roughly."""
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = finite([self.high / self.low if log else self.high - self.low])
        return float(np.median(spread)) if spread.size else np.inf


def band_of(values: xr.DataArray) -> Band:
    """Minimum and maximum over the lengths; NaN is left out, infinity is the maximum where it occurs."""
    table = values.transpose("step", "length").values.astype(float)
    nothing = np.isnan(table).all(axis=1)
    low = np.where(np.isnan(table), np.inf, table).min(axis=1)
    high = np.where(np.isnan(table), -np.inf, table).max(axis=1)
    low[nothing] = high[nothing] = np.nan
    return Band(values.step.values, low, high, ~np.isfinite(table).all(axis=1))


def draw_landscape(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw loss, gradient distance and smoothness of all runs.

    Args:
        series: runs with the contents of their probe.nc.
        options: log, whether the axis of the loss is logarithmic; None: it is.
    """
    drawn = Figure(figsize=(TEXT_WIDTH, 2.5), layout="constrained")
    loss, gradient, smoothness = drawn.subplots(1, 3, sharex=True)
    totals = [each.results.path_loss + each.results.path_penalty for each in series]
    penalised = any(bool((each.results.path_penalty != 0).any()) for each in series)
    _draw_bands(loss, "loss", series, [band_of(each) for each in totals], options.log is not False)
    distances = [each.results.grad_distance for each in series]
    _draw_bands(gradient, "grad_distance", series, [band_of(each) for each in distances], None)
    _draw_maxima(smoothness, series, [band_of(each.results.smoothness) for each in series])
    name = "loss + L2 penalty" if penalised else "loss"
    panel_titles(drawn, name, "gradient distance", "effective β-smoothness")
    quantity = with_unit([each.results.path_loss for each in series], name)
    for ax, label in ((loss, quantity), (gradient, "‖∇L(θ) − ∇L(θ−ηg)‖₂"), (smoothness, "β")):
        ax.set(xlabel="step", ylabel=label)
    step_axis(drawn.axes, [each.results.step.values for each in series])
    legend_above(drawn, series, [_handle(each) for each in series])
    key_below(drawn, _key(series) | published_key(drawn))
    return drawn


def _draw_bands(ax: Axes, quantity: str, series: Sequence[Series], bands: Sequence[Band], log: bool | None) -> None:
    own = [edge for band in bands for edge in (band.low, band.high)]
    values = finite([*own, *published_values(series, quantity)])
    scale_axis(ax, values, log if log is not None else _has_outliers(values))
    widest_first = sorted(range(len(bands)), key=lambda index: -bands[index].width(ax.get_yscale() == "log"))
    for order, index in enumerate(widest_first):
        _draw_band(ax, series[index], bands[index], order)
        _draw_bars(ax, series[index], bands[index], _place(ax, bands, index))
    for each, band in zip(series, bands, strict=True):
        mark_not_finite(ax, band.step[band.not_finite], each.look)
        draw_published(ax, each.look, each.published.get(quantity))


def _draw_band(ax: Axes, each: Series, band: Band, order: int) -> None:
    # Matplotlib leaves a hole at infinity, where the band should run off the axes.
    low, high = (np.where(np.isposinf(edge), _beyond(ax), edge) for edge in (band.low, band.high))
    look = each.look
    ax.fill_between(band.step, low, high, facecolor=look.fill, linewidth=0, zorder=2 + order / 100, label=each.label)
    for edge in (low, high):
        ax.plot(band.step, edge, color=look.colour, linestyle=look.line, linewidth=0.6, zorder=3 + order / 100)


def _draw_bars(ax: Axes, each: Series, band: Band, place: Transform) -> None:
    """Show as bars the steps without neighbours, where a band has no area."""
    known = ~np.isnan(band.low)
    alone = known & ~np.r_[False, known[:-1]] & ~np.r_[known[1:], False]
    if alone.any():
        low, high = (np.where(np.isposinf(edge), _beyond(ax), edge)[alone] for edge in (band.low, band.high))
        middle = np.sqrt(low * high) if ax.get_yscale() == "log" else (low + high) / 2
        style: dict[str, Any] = {"color": each.look.colour, "linestyle": "none", "capsize": 2.5, "elinewidth": 1.2}
        bars = (middle - low, high - middle)
        ax.errorbar(band.step[alone], middle, bars, **style, transform=place, zorder=4, label=each.label)


def _draw_maxima(ax: Axes, series: Sequence[Series], bands: Sequence[Band]) -> None:
    values = finite([*(band.high for band in bands), *published_values(series, "smoothness")])
    scale_axis(ax, values, _has_outliers(values))
    for index, (each, band) in enumerate(zip(series, bands, strict=True)):
        high = np.where(np.isposinf(band.high), _beyond(ax), band.high)
        style: dict[str, Any] = {"color": each.look.colour, "linestyle": each.look.line, "markersize": 4}
        style["marker"] = each.look.marker if len(high) == 1 else ""
        ax.plot(band.step, high, **style, transform=_place(ax, bands, index), label=each.label)
        mark_not_finite(ax, band.step[band.not_finite], each.look)
        draw_published(ax, each.look, each.published.get("smoothness"))


def _place(ax: Axes, bands: Sequence[Band], index: int) -> Transform:
    """Data coordinates; runs with a single step stand side by side."""
    figure = ax.get_figure(root=True)
    if figure is None or any(len(band.step) > 1 for band in bands):
        return ax.transData
    shift = (index - (len(bands) - 1) / 2) * APART / 72
    return ax.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)


def _beyond(ax: Axes) -> float:
    low, high = ax.get_ylim()
    return high * high / low if ax.get_yscale() == "log" else high + (high - low)


def _has_outliers(values: Floats) -> bool:
    # Linear as in the paper, unless a few values would press all others onto the lower edge.
    return bool(values.size and values.max() > 10 * np.quantile(values, 0.95))


def _handle(each: Series) -> Artist:
    return Patch(facecolor=each.look.fill, edgecolor=each.look.colour, linestyle=each.look.line, linewidth=0.8)


def _key(series: Sequence[Series]) -> dict[str, Artist]:
    lengths = {tuple(np.unique(each.results.length.values)) for each in series}
    every = sorted({length for some in lengths for length in some})
    eta = f"η = {every[0]:g}" if len(every) == 1 else f"η = {every[0]:g} … {every[-1]:g}"
    if len(lengths) > 1:
        eta += " (not the same in all runs)"
    key: dict[str, Artist] = {
        f"(a, b) range over {eta}": Patch(facecolor="#BBBBBB", edgecolor=KEY, linewidth=0.6),
        "(c) maximum of ‖∇L(θ) − ∇L(θ−ηg)‖₂ / ‖ηg‖₂": Line2D([], [], color=KEY),
    }
    return key


FIGURES = (FigureKind("landscape", Probed("path_loss", measure="landscape"), draw_landscape),)
