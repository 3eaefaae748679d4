"""The figure `shift`: internal covariate shift of each layer (Santurkar et al. 2018, figure 3)."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from lossviz.plot.figure import FigureKind
from lossviz.plot.kit.axes import finite, scale_axis
from lossviz.plot.kit.curves import draw_averaged, finish_curves, layer_columns, layers_of
from lossviz.plot.needs import Probed
from lossviz.plot.series import DEFAULT, Options, Series


def draw_shift(series: Sequence[Series], _: Options = DEFAULT) -> Figure:
    """Draw how far, and how much, a layer's gradient changes when the layers before it take their step.

    Args:
        series: runs with the contents of their probe.nc, which have the measure shift.
    """
    layers = layers_of(series)
    drawn, (distances, cosines) = layer_columns(layers, 2, 1.35, "row")
    draw_averaged(distances, series, "shift_l2", layers)
    scale_axis(distances[0], finite([each.results.shift_l2.values for each in series]), log=True)
    draw_averaged(cosines, series, "shift_cosine", layers)
    lowest = finite([each.results.shift_cosine.values for each in series]).min(initial=0.0)
    cosines[0].set_ylim(lowest - 0.05 * (1 - lowest), 1 + 0.05 * (1 - lowest))
    distances[0].set_ylabel("‖G − G′‖₂")
    cosines[0].set_ylabel("cosine of G and G′")
    finish_curves(drawn, [distances, cosines], series, layers)
    return drawn


FIGURE = FigureKind("shift", Probed("shift_l2", measure="shift"), draw_shift)
