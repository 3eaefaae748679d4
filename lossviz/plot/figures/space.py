"""The figures of a plane as a surface in space: `3d`, and `relief`, rendered with light and shade."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from mpl_toolkits.mplot3d.axes3d import Axes3D
from numpy.typing import NDArray

from lossviz.errors import needing_extra
from lossviz.plot.figure import FigureKind, on_request
from lossviz.plot.kit.axes import number
from lossviz.plot.kit.cells import draw_levels, lattice, pale_colours
from lossviz.plot.kit.labels import CROSS, keep_apart, mark_checkpoints
from lossviz.plot.kit.panels import (
    PER_ROW,
    colour_bar,
    finish_square_panels,
    rows_and_columns,
    surface_key,
    title,
    title_height,
)
from lossviz.plot.kit.scale import Scale, common_scale
from lossviz.plot.kit.style import COLOUR_MAP, COLUMN_WIDTH, SMALL, TEXT_WIDTH, TINY
from lossviz.plot.needs import Planes
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import SurfaceResults

# More faces are stored as pixels in PDF and SVG, which viewers could not scroll otherwise.
MANY_FACES = 10_000
# Inches of a relief: the figure of one network; colour bars, the numbers and names of axes, between panels, the key.
_NARROW, _BARS, _NUMBERS, _GAP, _KEY = 4.0, 0.75, 0.45, 0.1, 0.35


def draw_surface_3d(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw the surfaces of all runs over the same range of heights."""
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    rows, columns = rows_and_columns(len(series), PER_ROW)
    width = COLUMN_WIDTH if columns == 1 else TEXT_WIDTH
    side, bar = (width - 0.7) / columns, 0.62
    lines = max(_title(each).count("\n") for each in series) + 1
    row = side + lines * 0.13
    drawn = Figure(figsize=(width, rows * row))
    # By hand: automatic layouts do not know how far labels in space reach.
    for place, each in enumerate(series):
        down, right = divmod(place, columns)
        corner = (right * side / width, 1 - ((down + 1) * row) / (rows * row))
        ax = drawn.add_axes((*corner, side / width, side / (rows * row)), projection="3d")
        _draw_surface(ax, each, scale)
    bar_height = min(0.8, 1.6 / (rows * row))
    place_of_bar = drawn.add_axes((1 - bar / width, 0.5 - bar_height / 2, 0.09 / width, bar_height))
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, place_of_bar)
    return drawn


def _draw_surface(ax: Axes3D, each: Series, scale: Scale) -> None:
    known = lattice(each.results)
    x, y = np.meshgrid(known.x.values, known.y.values)
    z, (low, high) = scale.heights(SurfaceResults(known).values("loss")), scale.limits
    style = {"cmap": COLOUR_MAP, "norm": Normalize(low, high), "linewidth": 0.1, "edgecolor": "#00000040"}
    # Every point: by default no more than 50 rows and columns are drawn.
    ax.plot_surface(x, y, z, **style, rstride=1, cstride=1, rasterized=z.size > MANY_FACES)
    # A neighbour's background would cover the labels of the heights.
    ax.patch.set_visible(False)
    ax.set(xlim=each.results.x.values[[0, -1]], ylim=each.results.y.values[[0, -1]], zlim=(low, high))
    if scale.log:
        levels = scale.levels[:: max(1, len(scale.levels) // 5)]
        ax.zaxis.set_major_locator(FixedLocator(list(np.log10(levels))))
        ax.zaxis.set_major_formatter(FuncFormatter(lambda value, _: number(10**value)))
    else:
        ax.zaxis.set_major_locator(MaxNLocator(5))
    # Not at the corner, where the labels of both axes would meet.
    ax.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    ax.yaxis.set_major_locator(MaxNLocator(4, prune="both"))
    ax.tick_params(labelsize=TINY, pad=-3)
    ax.tick_params(axis="z", pad=-0.5)
    ax.set_xlabel("x", labelpad=-7)
    ax.set_ylabel("y", labelpad=-7)
    # Above its axis: beside it a label would lie on the numbers, or on the next panel.
    ax.text(
        each.results.x.values[-1], each.results.y.values[-1], high, "loss\n", fontsize=TINY, ha="center", va="center"
    )
    _mark_checkpoint(ax, known, scale)
    ax.view_init(elev=28, azim=-60)
    ax.set_box_aspect((1, 1, 0.85), zoom=0.84)
    ax.set_title(_title(each), fontsize=SMALL, pad=-2, y=1.0)


def _mark_checkpoint(ax: Axes3D, known: xr.Dataset, scale: Scale) -> None:
    """A cross where the trained network is, which shows through what lies before it."""
    centre = SurfaceResults(known).centre
    if centre is not None and np.isfinite(centre.loss):
        ax.plot([0], [0], scale.heights(np.array([float(centre.loss)])), "+", **CROSS)


def _title(each: Series) -> str:
    holes = int(each.surface.not_finite.sum())
    return title(each) + (f"\n{holes} not finite (holes)" if holes else "")


def draw_relief(series: Sequence[Series], options: Options = DEFAULT) -> Figure:
    """Draw the surface of each run above its contours, over the same range of losses and in the same view.

    Faces join neighbouring points; where a loss is not finite there is a hole.

    Raises:
        RequestError: pyvista or OpenGL is missing.

    Source:
        Li et al. 2018, figure 1.
    """
    with needing_extra("vtk", "figure relief"):
        from lossviz.plot.kit.render import render, without_margins
    scale = common_scale([each.results.loss for each in series], options.log, options.clip)
    images = without_margins([render(each.results, scale) for each in series])
    rows, columns = rows_and_columns(len(series), PER_ROW)
    width = TEXT_WIDTH if columns > 1 else _NARROW
    side = (width - _BARS - _NUMBERS) / columns - _GAP
    tall = side * images[0].shape[0] / images[0].shape[1]
    height = rows * (tall + side + title_height(series) + _NUMBERS + _GAP) + _KEY
    drawn = Figure(figsize=(width, height), layout="compressed")
    grid = drawn.add_gridspec(2 * rows, columns, height_ratios=[tall, side] * rows)
    above, below, contours, names = [], [], [], []
    for place, (each, image) in enumerate(zip(series, images, strict=True)):
        row, column = divmod(place, columns)
        above.append(_draw_image(drawn.add_subplot(grid[2 * row, column]), each, image))
        ax = drawn.add_subplot(grid[2 * row + 1, column])
        contours.append(draw_levels(ax, each.results, scale))
        names.append(mark_checkpoints(ax, each.results))
        below.append(ax)
    finish_square_panels(below, series, columns)
    colour_bar(drawn, ScalarMappable(scale.norm, COLOUR_MAP), scale, above)
    colour_bar(drawn, ScalarMappable(*pale_colours(scale)), scale, below)
    surface_key(drawn, series)
    keep_apart(drawn, below, names, contours)
    return drawn


def _draw_image(ax: Axes, each: Series, image: NDArray[np.uint8]) -> Axes:
    ax.imshow(image, interpolation="antialiased")
    ax.set_axis_off()
    ax.set_title(title(each), fontsize=SMALL)
    return ax


SURFACE_3D = FigureKind("3d", Planes(), draw_surface_3d, by_default=on_request)
RELIEF = FigureKind("relief", Planes(), draw_relief, by_default=on_request, dpi=200)
FIGURES = (SURFACE_3D, RELIEF)
