"""The figure `convexity`: where a plane curves down, |smallest / largest eigenvalue| (Li et al. 2018, figure 7)."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import finite
from lossviz.plot.kit.cells import draw_cells
from lossviz.plot.kit.labels import keep_apart, mark_checkpoints
from lossviz.plot.kit.panels import colour_bar, square_panels, surface_key
from lossviz.plot.kit.scale import Scale
from lossviz.plot.kit.style import COLOUR_MAP
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import DONE, NOT_FINITE, TO_DO

# The range of the paper's figure.
HIGHEST = 0.5
_RATIO = r"$|\lambda_\mathrm{min} / \lambda_\mathrm{max}|$ of the Hessian"


def draw_convexity(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw |hessian_min / hessian_max| of every computed point as one cell, in colours from 0 to 0.5.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x, y, hessian_max and hessian_min.
    """
    shown = [each.with_results(with_convexity(each.results)) for each in series]
    highest = finite([each.surface.values("convexity") for each in shown]).max(initial=0.0)
    extend = "max" if highest > HIGHEST else "neither"
    scale = Scale(0.0, HIGHEST, False, extend=extend, quantity=_RATIO)
    drawn, axes = square_panels(shown)
    for ax, each in zip(axes, shown, strict=True):
        draw_cells(ax, each.results, "convexity", COLOUR_MAP, scale.norm)
    names = [mark_checkpoints(ax, each.results) for ax, each in zip(axes, shown, strict=True)]
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, axes, np.linspace(0.0, HIGHEST, 6))
    surface_key(drawn, shown)
    keep_apart(drawn, axes, names)
    return drawn


def with_convexity(results: xr.Dataset) -> xr.Dataset:
    """A scan with the ratio of its eigenvalues, whose status is that of the ratio."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = abs(results.hessian_min / results.hessian_max)
    known = xr.full_like(results.status, DONE).where(np.isfinite(ratio), NOT_FINITE)
    return results.assign(convexity=ratio, status=known.where(results.status != TO_DO, TO_DO))


_NEEDS = Planes(
    "plane with hessian_min and hessian_max",
    "--set surface.name=convexity --set 'surface.metrics=[hessian]' --set 'surface.y=[-1, 1, 21]' "
    "--set 'surface.x=[-1, 1, 21]'",
    lambda each: {"hessian_max", "hessian_min"} <= set(each.results),
)
FIGURE = FigureKind("convexity", _NEEDS, draw_convexity)
