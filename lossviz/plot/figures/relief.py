"""The figure `relief`: surfaces rendered with light and shade, over their contours (Li et al. 2018, figure 1)."""

from collections.abc import Sequence

from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from lossviz.plot.figure import FigureKind, on_request
from lossviz.plot.figures.contour import draw_levels, pale_colours
from lossviz.plot.kit.extras import needing_extra
from lossviz.plot.kit.labels import keep_apart, mark_checkpoints
from lossviz.plot.kit.panels import axis_name, axis_ticks, colour_bar, surface_key, title
from lossviz.plot.kit.scale import common_scale
from lossviz.plot.kit.style import COLOUR_MAP, SMALL, TEXT_WIDTH
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, Series

# Inches for the colour bars and the numbers of the axes.
_BARS, _NUMBERS = 0.75, 0.4


def draw_relief(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw the surface of each run above its contours, over the same range of losses and in the same view.

    Faces join neighbouring points; where a loss is not finite there is a hole.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        options: log, whether losses are on a logarithmic scale (None: when they span more than a factor 20), and
            clip, limits at which losses beyond are drawn.

    Raises:
        RequestError: pyvista or OpenGL is missing.
    """
    with needing_extra("vtk", "figure relief"):
        from lossviz.plot.kit.render import render, without_margins
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    images = without_margins([render(each.results, scale) for each in series])
    columns, lines = len(series), max(title(each).count("\n") for each in series) + 1
    side = (TEXT_WIDTH - _BARS) / columns
    tall, contour = side * images[0].shape[0] / images[0].shape[1], min(0.8 * side, 2.2)
    heights = [tall, contour + _NUMBERS]
    drawn = Figure(figsize=(TEXT_WIDTH, sum(heights) + 0.13 * lines + 0.5), layout="compressed")
    above, below = drawn.subplots(2, columns, squeeze=False, height_ratios=heights)
    colours, lines_of, names = pale_colours(scale), [], []
    for ax, each, image in zip(above, series, images, strict=True):
        ax.imshow(image, interpolation="antialiased", label="surface")
        ax.set_axis_off()
        ax.set_title(title(each), fontsize=SMALL)
    for place, (ax, each) in enumerate(zip(below, series, strict=True)):
        lines_of.append(draw_levels(ax, each.results, scale, colours))
        names.append(mark_checkpoints(ax, each.results))
        ax.set_box_aspect(1)
        ax.xaxis.set_major_locator(axis_ticks())
        ax.yaxis.set_major_locator(axis_ticks())
        ax.set(xlabel=axis_name(each.results, "x"), ylabel=axis_name(each.results, "y", named=place == 0))
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, list(above))
    colour_bar(drawn, ScalarMappable(BoundaryNorm(scale.bounds, colours.N), colours), scale, list(below))
    surface_key(drawn, series)
    keep_apart(drawn, list(below), names, lines_of)
    return drawn


FIGURE = FigureKind("relief", Planes(), draw_relief, by_default=on_request, dpi=200)
