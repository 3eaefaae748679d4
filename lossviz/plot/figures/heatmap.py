"""The figure of a plane through a trained network as it was computed: one cell a point."""

from collections.abc import Sequence

from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from lossviz.plot.figure import FigureKind, on_request
from lossviz.plot.kit.cells import draw_cells
from lossviz.plot.kit.labels import keep_apart, mark_checkpoints
from lossviz.plot.kit.panels import colour_bar, square_panels, surface_key
from lossviz.plot.kit.scale import common_scale
from lossviz.plot.kit.style import COLOUR_MAP
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, Series


def draw_heatmap(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw every computed point as one cell of its colour, nothing in between.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        options: log and clip.
    """
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    drawn, axes = square_panels(series)
    for ax, each in zip(axes, series, strict=True):
        draw_cells(ax, each.results, "loss", COLOUR_MAP, scale.norm)
    names = [mark_checkpoints(ax, each.results) for ax, each in zip(axes, series, strict=True)]
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, axes)
    surface_key(drawn, series)
    keep_apart(drawn, axes, names)
    return drawn


FIGURE = FigureKind("heatmap", Planes(), draw_heatmap, by_default=on_request)
