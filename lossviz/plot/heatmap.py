"""The figure of a plane through a trained network as it was computed: one cell a point."""

from collections.abc import Sequence

from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from lossviz.plot.cells import draw_cells
from lossviz.plot.checkpoints import mark_checkpoints
from lossviz.plot.labels import keep_apart
from lossviz.plot.panels import colour_bar, square_panels, surface_key
from lossviz.plot.scale import common_scale
from lossviz.plot.series import Series
from lossviz.plot.style import COLOUR_MAP


def heatmap(series: Sequence[Series], *, log: bool | None = None, clip: tuple[float, float] | None = None) -> Figure:
    """Draw every computed point as one cell of its colour, nothing in between.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        log: whether the colours are logarithmic; None: when the losses span more than a factor 20.
        clip: losses beyond are drawn in the colours of these limits.
    """
    scale = common_scale([each.results.loss for each in series], log, clip)
    drawn, axes = square_panels(series)
    for ax, each in zip(axes, series, strict=True):
        draw_cells(ax, each.results, "loss", COLOUR_MAP, scale.norm)
    names = [mark_checkpoints(ax, each.results) for ax, each in zip(axes, series, strict=True)]
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, axes)
    surface_key(drawn, series)
    keep_apart(drawn, axes, names)
    return drawn
