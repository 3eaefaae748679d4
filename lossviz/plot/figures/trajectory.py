"""The figure `trajectory`: the path of a training in a plane, and how far the plane tells the truth about it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import (
    LEFT,
    RIGHT,
    Floats,
    finite,
    key_below,
    mark_not_finite,
    mark_rows,
    scale_axis,
    step_axis,
    twin,
)
from lossviz.plot.kit.cells import draw_levels, pale_colours
from lossviz.plot.kit.labels import OUTLINE, circle, has_path, keep_apart, name_beside, places_on_path, steps
from lossviz.plot.kit.panels import axis_name, axis_ticks, colour_bar, title, title_height, unknown_key
from lossviz.plot.kit.scale import Scale, common_scale
from lossviz.plot.kit.style import FEW, NOT_FINITE, SMALL, TEXT_WIDTH
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, Series

# Checkpoints whose step is written beside them, where there is room.
NAMED = 7
_OTHER, _SQUARE = "other checkpoint", circle("white") | {"marker": "s"}
_OWN: tuple[str, str, Any] = ("checkpoint_loss", "loss of the checkpoint", "-")
_PROJECTED: tuple[str, str, Any] = ("checkpoint_plane_loss", "loss of its projection", (0, (3, 1.5)))


def draw_trajectory(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw a row for each run: the plane with the path, and the losses of checkpoints and projections by step.

    The colour of a checkpoint is its own loss on the scale of the contours: where it differs from what lies under
    it, the plane does not show the loss that the training had.
    """
    paths = [each.with_results(each.results.isel(checkpoint=places_on_path(each.results))) for each in series]
    shown = [each.results.loss for each in series]
    shown += [each.results[name] for each in paths for name, *_ in (_OWN, _PROJECTED)]
    scale = common_scale(shown, options.log, options.clip)
    drawn = Figure(figsize=(TEXT_WIDTH, len(series) * (2.6 + title_height(series)) + 0.4), layout="constrained")
    grid = drawn.subplots(len(series), 2, squeeze=False, width_ratios=[1.1, 1])
    distances = finite([each.results.checkpoint_distance.values for each in paths])
    drawings = [_draw_plane(axes[0], each, scale) for axes, each in zip(grid, paths, strict=True)]
    for axes, each in zip(grid, series, strict=True):
        _mark_others(axes[0], each.results)
    for axes, each in zip(grid, paths, strict=True):
        _draw_truth(axes[1], each, scale, distances)
    for ax in grid[:, 1]:
        ax.set_title("the checkpoints and their projections", fontsize=SMALL, pad=4 + 4 * mark_rows(drawn))
    colour_bar(drawn, ScalarMappable(*pale_colours(scale)), scale, list(grid[:, 0]))
    key_below(drawn, _key(drawn, series))
    names, contours = zip(*drawings, strict=True)
    keep_apart(drawn, list(grid[:, 0]), names, contours)
    return drawn


def _draw_plane(ax: Axes, each: Series, scale: Scale) -> tuple[list[Annotation], QuadContourSet | None]:
    """The contours and the path; returns the names of the steps, those to keep first, and the lines."""
    results = each.results
    contours = draw_levels(ax, results, scale)
    norm, colours = pale_colours(scale)
    x, y, own = (results[name].values for name in ("checkpoint_x", "checkpoint_y", "checkpoint_loss"))
    ax.plot(x, y, color="black", linewidth=0.7, path_effects=OUTLINE, zorder=4, label="path")
    for place in zip(x, y, scale.clipped(own), strict=True):
        colour = colours(norm(place[2])) if np.isfinite(place[2]) else NOT_FINITE
        ax.plot(*place[:2], **circle(colour), linestyle="none", zorder=5, label="checkpoint")
    inside = (abs(x - np.clip(x, *results.x.values[[0, -1]])) + abs(y - np.clip(y, *results.y.values[[0, -1]]))) == 0
    beyond = int((~inside).sum())
    ax.set_box_aspect(1)
    ax.xaxis.set_major_locator(axis_ticks())
    ax.yaxis.set_major_locator(axis_ticks())
    ax.set(xlabel=axis_name(results, "x"), ylabel=axis_name(results, "y"))
    ax.set_title(
        title(each) + (f"\n{beyond} of {len(x)} checkpoints beyond the plane" if beyond else ""), fontsize=SMALL
    )
    (at, counted), places = steps(results), np.flatnonzero(inside)
    named = places[np.unique(np.linspace(0, len(places) - 1, NAMED).round().astype(int))] if len(places) else places
    # A bare number would look like the label of a contour.
    names = [name_beside(ax, x[i], y[i], f"{'step' if counted == 'step' else 'no.'} {at[i]:g}") for i in named]
    return [*names[-1:], *names[:-1]], contours


def _mark_others(ax: Axes, results: xr.Dataset) -> None:
    """Mark checkpoints that are not on the path, such as another network that a direction leads to."""
    others = results.drop_isel(checkpoint=places_on_path(results))
    x, y = others.checkpoint_x.values, others.checkpoint_y.values
    away = (x != 0) | (y != 0)
    if away.any():
        ax.plot(x[away], y[away], **_SQUARE, linestyle="none", zorder=5, label=_OTHER)


def _draw_truth(ax: Axes, each: Series, scale: Scale, distances: Floats) -> None:
    results, (at, counted) = each.results, steps(each.results)
    scale_axis(ax, np.array([scale.low, scale.high]), scale.log)
    few = len(at) <= FEW
    for name, label, style in (_OWN, _PROJECTED):
        found = results[name].values
        fill = LEFT.colour if style == "-" else "white"
        marker: dict[str, Any] = {"marker": "o" if few else "", "markersize": 2.5, "markerfacecolor": fill}
        ax.plot(at, scale.clipped(found), color=LEFT.colour, linestyle=style, linewidth=1.2, **marker, label=label)
        mark_not_finite(ax, at[~np.isfinite(found)], LEFT)
    right = twin(ax, 1, 0, 0, (scale.label, "distance from the plane"))
    right.plot(at, results.checkpoint_distance.values, color=RIGHT.colour, linewidth=1.0, label="distance")
    scale_axis(right, np.r_[0.0, distances], log=False)
    step_axis([ax], [at], 4)
    ax.set_xlabel(counted)


def _key(drawn: Figure, series: Sequence[Series]) -> dict[str, Artist]:
    curves: dict[str, Artist] = {
        label: Line2D([], [], color=LEFT.colour, linestyle=style, linewidth=1.2)
        for _, label, style in (_OWN, _PROJECTED)
    }
    others = any(line.get_label() == _OTHER for ax in drawn.axes for line in ax.lines)
    return {
        "checkpoint at its step, coloured by its own loss": Line2D([], [], **circle("white"), linestyle="none"),
        **curves,
        **({_OTHER: Line2D([], [], **_SQUARE, linestyle="none")} if others else {}),
        "distance": Line2D([], [], color=RIGHT.colour, linewidth=1.0),
        **unknown_key(drawn, series),
    }


_NEEDS = Planes(
    "plane with the path of the checkpoints",
    "--set surface.name=trajectory --set 'surface.directions={kind: pca}' "
    "--set 'surface.x=[auto, auto, 51]' --set 'surface.y=[auto, auto, 51]'",
    lambda each: has_path(each.results),
)
FIGURES = (FigureKind("trajectory", _NEEDS, draw_trajectory),)
