"""The figure `relief`: surfaces rendered with light and shade, over their contours (Li et al. 2018, figure 1)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lossviz.plot.figure import FigureKind, on_request
from lossviz.plot.figures.contour import draw_levels, pale_colours
from lossviz.plot.kit.extras import needing_extra
from lossviz.plot.kit.labels import keep_apart, mark_checkpoints
from lossviz.plot.kit.panels import colour_bar, finish_square_panels, rows_and_columns, surface_key, title
from lossviz.plot.kit.scale import common_scale
from lossviz.plot.kit.style import COLOUR_MAP, SMALL, TEXT_WIDTH
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, Series

# Inches: of a figure of one network; for colour bars, the numbers and names of axes, between panels, and for the key.
_NARROW, _BARS, _NUMBERS, _GAP, _KEY = 4.0, 0.75, 0.45, 0.1, 0.35
PER_ROW = 4
Image = NDArray[np.uint8]


def draw_relief(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw the surface of each run above its contours, over the same range of losses and in the same view.

    Faces join neighbouring points; where a loss is not finite there is a hole.

    Args:
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        options: log and clip.

    Raises:
        RequestError: pyvista or OpenGL is missing.
    """
    with needing_extra("vtk", "figure relief"):
        from lossviz.plot.kit.render import render, without_margins
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    images = without_margins([render(each.results, scale) for each in series])
    rows, columns = rows_and_columns(len(series), PER_ROW)
    width = TEXT_WIDTH if columns > 1 else _NARROW
    side = (width - _BARS - _NUMBERS) / columns - _GAP
    tall = side * images[0].shape[0] / images[0].shape[1]
    lines = max(title(each).count("\n") for each in series) + 1
    height = rows * (tall + side + 0.13 * lines + _NUMBERS + _GAP) + _KEY
    drawn = Figure(figsize=(width, height), layout="compressed")
    grid = drawn.add_gridspec(2 * rows, columns, height_ratios=[tall, side] * rows)
    above, below, contours, names = [], [], [], []
    colours = pale_colours(scale)
    for place, (each, image) in enumerate(zip(series, images, strict=True)):
        row, column = divmod(place, columns)
        above.append(_draw_surface(drawn.add_subplot(grid[2 * row, column]), each, image))
        ax = drawn.add_subplot(grid[2 * row + 1, column])
        contours.append(draw_levels(ax, each.results, scale, colours))
        names.append(mark_checkpoints(ax, each.results))
        below.append(ax)
    finish_square_panels(below, series, columns)
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, above)
    colour_bar(drawn, ScalarMappable(BoundaryNorm(scale.bounds, colours.N), colours), scale, below)
    surface_key(drawn, series)
    keep_apart(drawn, below, names, contours)
    return drawn


def _draw_surface(ax: Axes, each: Series, image: Image) -> Axes:
    ax.imshow(image, interpolation="antialiased")
    ax.set_axis_off()
    ax.set_title(title(each), fontsize=SMALL)
    return ax


FIGURE = FigureKind("relief", Planes(), draw_relief, by_default=on_request, dpi=200)
