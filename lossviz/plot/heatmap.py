"""The figure of a plane through a trained network as it was computed: one cell a point."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from lossviz.plot.panels import colour_bar, draw_unknown, mark_checkpoint, square_panels, surface_key
from lossviz.plot.scale import common_scale
from lossviz.plot.scan import losses
from lossviz.plot.series import Series
from lossviz.plot.style import COLOUR_MAP


def heatmap(series: Sequence[Series], *, log: bool | None = None, clip: tuple[float, float] | None = None) -> Figure:
    """Draw every computed point as one cell of its colour, nothing in between.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        log: whether the colours are logarithmic; None: when the losses span more than a factor 20.
        clip: losses beyond are drawn in the colours of these limits.
    """
    grids = [losses(each.results) for each in series]
    scale = common_scale(grids, log, clip)
    drawn, axes = square_panels(series)
    for ax, each, grid in zip(axes, series, grids, strict=True):
        draw_unknown(ax, each.results)
        cells, x, y = np.ma.masked_invalid(grid), each.results.x.values, each.results.y.values
        ax.pcolormesh(x, y, cells, cmap=COLOUR_MAP, norm=scale.norm, shading="nearest", label="loss", rasterized=True)
        mark_checkpoint(ax, each.results)
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, axes)
    surface_key(drawn, series)
    return drawn
