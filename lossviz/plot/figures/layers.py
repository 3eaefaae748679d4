"""The figures `moments` and `shift`: two numbers of each weight layer against the step, a column for each layer."""

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import finite, is_steep, key_below, legend_above, mark_rows, scale_axis, step_axis
from lossviz.plot.kit.curves import draw_average, window_key
from lossviz.plot.kit.style import COLUMN_WIDTH, TEXT_WIDTH
from lossviz.plot.needs import Probed
from lossviz.plot.series import DEFAULT, Options, Series

Share = Literal["none", "row", "all"]


def draw_moments(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw mean and variance before the non-linearity, against the step.

    Source:
        Santurkar et al. 2018, figure 8.
    """
    names = {"activation_mean": "mean", "activation_variance": "variance"}
    drawn, rows = _draw_rows(series, names, "none")
    for axes, quantity in zip(rows, names, strict=True):
        for ax, layer in zip(axes, layers_of(series), strict=True):
            there = [each.results for each in series if layer in each.results.layer.values]
            values = finite([results[quantity].sel(layer=layer).values for results in there])
            scale_axis(ax, values, quantity == "activation_variance" and is_steep(values))
    return drawn


def draw_shift(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw how far, and how much, a layer's gradient changes when the layers before it take their step.

    Source:
        Santurkar et al. 2018, figure 3.
    """
    names = {"shift_l2": "‖G − G′‖₂", "shift_cosine": "cosine of G and G′"}
    drawn, (distances, cosines) = _draw_rows(series, names, "row")
    scale_axis(distances[0], finite([each.results.shift_l2.values for each in series]), log=True)
    lowest = finite([each.results.shift_cosine.values for each in series]).min(initial=0.0)
    cosines[0].set_ylim(lowest - 0.05 * (1 - lowest), 1 + 0.05 * (1 - lowest))
    return drawn


def _draw_rows(series: Sequence[Series], names: Mapping[str, str], share: Share) -> tuple[Figure, list[list[Axes]]]:
    """Draw quantities against the step, each in a row that has its name."""
    layers = layers_of(series)
    drawn, grid = layer_columns(layers, len(names), 1.35, share)
    for axes, (quantity, name) in zip(grid, names.items(), strict=True):
        axes[0].set_ylabel(name)
        step_axis(axes, [each.results.step.values for each in series], ticks=5 if len(layers) < 5 else 2)
        for ax, layer in zip(axes, layers, strict=True):
            ax.tick_params(labelbottom=axes is grid[-1])
            for each in series:
                if layer in each.results.layer.values:
                    draw_average(ax, each, each.results[quantity].sel(layer=layer))
    for ax in grid[-1]:
        ax.set_xlabel("step")
    layer_titles(drawn, layers, grid[0])
    legend_above(drawn, series)
    key_below(drawn, window_key(series))
    return drawn, grid


def layers_of(series: Sequence[Series]) -> list[int]:
    """Every layer that was measured in some run."""
    return sorted({int(layer) for each in series for layer in each.results.layer.values})


def layer_columns(layers: Sequence[int], rows: int, row: float, share: Share) -> tuple[Figure, list[list[Axes]]]:
    """A figure with rows of panels, a column for each layer.

    Args:
        layers: their numbers.
        rows: how many.
        row: height of one, in inches.
        share: which panels have the same vertical axis.
    """
    width = COLUMN_WIDTH if len(layers) == 1 else max(TEXT_WIDTH, 0.9 * len(layers))
    drawn = Figure(figsize=(width, rows * row + 0.6), layout="constrained")
    grid = drawn.subplots(rows, len(layers), sharey=share, squeeze=False)
    return drawn, [list(axes) for axes in grid]


def layer_titles(drawn: Figure, layers: Sequence[int], top: Sequence[Axes]) -> None:
    """Name the columns, above the marks of what is not finite."""
    for ax, layer in zip(top, layers, strict=True):
        ax.set_title(f"layer {layer}", pad=4 + 4 * mark_rows(drawn))


MOMENTS = FigureKind("moments", Probed("activation_mean", measure="activations"), draw_moments)
SHIFT = FigureKind("shift", Probed("shift_l2", measure="shift"), draw_shift)
FIGURES = (MOMENTS, SHIFT)
