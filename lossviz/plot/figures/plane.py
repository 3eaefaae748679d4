"""The planes from above: `contour`, `heatmap`, `accuracy`, `convexity`; and `surface`, which joins those of a scan."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from lossviz.plot.figure import FigureGroup, FigureKind, on_request
from lossviz.plot.figures import line, space
from lossviz.plot.kit.axes import Floats, finite
from lossviz.plot.kit.cells import draw_cells, draw_levels, pale_colours
from lossviz.plot.kit.labels import keep_apart, mark_checkpoints
from lossviz.plot.kit.panels import colour_bar, square_panels, surface_key
from lossviz.plot.kit.scale import Scale, common_scale
from lossviz.plot.kit.style import COLOUR_MAP
from lossviz.plot.needs import Planes, Scans
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import DONE, NOT_FINITE, TO_DO

# The range of the paper's figure of the convexity.
HIGHEST = 0.5
_RATIO = r"$|\lambda_\mathrm{min} / \lambda_\mathrm{max}|$ of the Hessian"


def draw_contour(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw contour lines of all runs at the same levels, with the same colours between them."""
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    drawn, axes = square_panels(series)
    lines = [draw_levels(ax, each.results, scale) for ax, each in zip(axes, series, strict=True)]
    names = [mark_checkpoints(ax, each.results) for ax, each in zip(axes, series, strict=True)]
    colour_bar(drawn, ScalarMappable(*pale_colours(scale)), scale, axes)
    surface_key(drawn, series)
    keep_apart(drawn, axes, names, lines)
    return drawn


def draw_heatmap(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw every computed point as one cell of its colour, nothing in between."""
    return _draw_cells(series, "loss", common_scale([each.results.loss for each in series], options.log, options.clip))


def draw_accuracy(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw how exact every computed point is: its standard error in % of its loss."""
    shown = [each.with_results(with_accuracy(each.results)) for each in series]
    highest = float(finite([each.surface.values("accuracy") for each in shown]).max(initial=0.0))
    return _draw_cells(shown, "accuracy", Scale(0.0, highest or 1.0, False, quantity="standard error (% of the loss)"))


def _has_errors(each: Series) -> bool:
    # A file of the official tool says nothing of them.
    return "loss_stderr" in each.results and bool(np.isfinite(each.results.loss_stderr).any())


def with_accuracy(results: xr.Dataset) -> xr.Dataset:
    """A scan with its relative standard errors, whose status is that of these."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100 * results.loss_stderr / abs(results.loss)
    known = xr.full_like(results.status, DONE).where(np.isfinite(relative), NOT_FINITE)
    return results.assign(accuracy=relative, status=known.where(results.status != TO_DO, TO_DO))


def draw_convexity(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw where a plane curves down: |hessian_min / hessian_max| of every computed point, in colours from 0 to 0.5.

    Source:
        Li et al. 2018, figure 7.
    """
    shown = [each.with_results(with_convexity(each.results)) for each in series]
    highest = finite([each.surface.values("convexity") for each in shown]).max(initial=0.0)
    scale = Scale(0.0, HIGHEST, False, extend="max" if highest > HIGHEST else "neither", quantity=_RATIO)
    return _draw_cells(shown, "convexity", scale, np.linspace(0.0, HIGHEST, 6))


def with_convexity(results: xr.Dataset) -> xr.Dataset:
    """A scan with the ratio of its eigenvalues, whose status is that of the ratio."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = abs(results.hessian_min / results.hessian_max)
    known = xr.full_like(results.status, DONE).where(np.isfinite(ratio), NOT_FINITE)
    return results.assign(convexity=ratio, status=known.where(results.status != TO_DO, TO_DO))


def _draw_cells(series: Sequence[Series], quantity: str, scale: Scale, ticks: Floats | None = None) -> Figure:
    drawn, axes = square_panels(series)
    for ax, each in zip(axes, series, strict=True):
        draw_cells(ax, each.results, quantity, COLOUR_MAP, scale.norm)
    names = [mark_checkpoints(ax, each.results) for ax, each in zip(axes, series, strict=True)]
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, axes, ticks)
    surface_key(drawn, series)
    keep_apart(drawn, axes, names)
    return drawn


_CONVEXITY_NEEDS = Planes(
    "plane with hessian_min and hessian_max",
    "--set surface.name=convexity --set 'surface.metrics=[hessian]' --set 'surface.y=[-1, 1, 21]' "
    "--set 'surface.x=[-1, 1, 21]'",
    lambda each: {"hessian_max", "hessian_min"} <= set(each.results),
)
CONTOUR = FigureKind("contour", Planes(), draw_contour, by_default=on_request)
HEATMAP = FigureKind("heatmap", Planes(), draw_heatmap, by_default=on_request)
ACCURACY = FigureKind(
    "accuracy",
    Planes("plane with loss_stderr", fits=_has_errors),
    draw_accuracy,
    by_default=on_request,
)
CONVEXITY = FigureKind("convexity", _CONVEXITY_NEEDS, draw_convexity)
SURFACE = FigureGroup("surface", Scans(), (CONTOUR, HEATMAP, space.SURFACE_3D, line.LINE))
FIGURES = (SURFACE, CONTOUR, HEATMAP, ACCURACY, CONVEXITY)
