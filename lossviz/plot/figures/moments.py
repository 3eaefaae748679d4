"""The figure `moments`: mean and variance of each layer's activations (Santurkar et al. 2018, figure 8)."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import finite, is_steep, scale_axis
from lossviz.plot.kit.curves import draw_averaged, finish_curves, layer_columns, layers_of
from lossviz.plot.needs import Probed
from lossviz.plot.series import DEFAULT, Options, Series


def draw_moments(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw mean and variance before the non-linearity, against the step.

    Args:
        series: runs with the contents of their probe.nc, which have the measure activations.
    """
    layers = layers_of(series)
    drawn, (means, variances) = layer_columns(layers, 2, 1.35, "none")
    for axes, quantity in ((means, "activation_mean"), (variances, "activation_variance")):
        draw_averaged(axes, series, quantity, layers)
        for ax, layer in zip(axes, layers, strict=True):
            there = [each.results for each in series if layer in each.results.layer.values]
            values = finite([results[quantity].sel(layer=layer).values for results in there])
            scale_axis(ax, values, quantity == "activation_variance" and is_steep(values))
    means[0].set_ylabel("mean")
    variances[0].set_ylabel("variance")
    finish_curves(drawn, [means, variances], series, layers)
    return drawn


FIGURE = FigureKind("moments", Probed("activation_mean", measure="activations"), draw_moments)
