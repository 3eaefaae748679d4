"""The interactive page of a line through a trained network: loss and error of all runs along it."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from lossviz.plot.page import Panel, base_layout, both_scales, notes, page, provenance
from lossviz.plot.panels import axis_name
from lossviz.plot.scale import Scale
from lossviz.plot.scan import to_do, values
from lossviz.plot.series import Series

# Dots are for the test split.
_DASHES = ("solid", "dash", "dashdot", "longdashdot")


def line_page(
    title: str, series: Sequence[Series], *, log: bool | None = None, clip: tuple[float, float] | None = None
) -> bytes:
    """A page with loss and error along the direction.

    Args:
        title: of the page.
        series: runs with the contents of their surface-<name>.nc, which have x only.
        log: whether the axis of the loss begins logarithmic; None: when the losses span more than a factor 20.
        clip: losses beyond are drawn at these limits; the pointer shows them as they are.
    """
    scales, start = both_scales([each.results.loss for each in series], log, clip)
    said = [f"{each.label}: {', '.join(notes(each))}" for each in series if notes(each)]
    whence = " — ".join(dict.fromkeys(provenance(each) for each in series))
    panels = [
        Panel("loss", {name: _loss(series, scale) for name, scale in scales.items()}, said, whence),
        Panel("error", dict.fromkeys(scales, _curves(series, "error", "error (%)"))),
    ]
    hint = "point to read, drag to zoom, double-click to see all; dotted upright: the checkpoint"
    return page(title, panels, start, hint, wide=True)


def _loss(series: Sequence[Series], scale: Scale) -> go.Figure:
    figure = _curves(series, "loss", scale.label.replace(", clipped", "<br>clipped"), scale)
    low, high = (np.log10([scale.low, scale.high])) if scale.log else (scale.low, scale.high)
    margin = 0.05 * (high - low)
    figure.update_yaxes(type="log" if scale.log else "linear", range=[low - margin, high + margin])
    return figure


def _curves(series: Sequence[Series], quantity: str, label: str, scale: Scale | None = None) -> go.Figure:
    traces = []
    for place, each in enumerate(series):
        known = ~to_do(each.results)
        # Of the test split too, where a scan measured both.
        for prefix, words in (("", ""), ("test_", ", test")):
            if f"{prefix}{quantity}" in each.results:
                raw = values(each.results, f"{prefix}{quantity}")[known]
                traces.append(
                    go.Scatter(
                        x=each.results.x.values[known],
                        y=raw if scale is None else scale.clipped(raw),
                        customdata=raw,
                        name=f"{each.label}{words}".replace("<", "&lt;"),
                        mode="lines+markers",
                        line={"color": each.look.colour, "dash": "dot" if prefix else _DASHES[place % 4], "width": 2},
                        marker={"size": 4},
                        hovertemplate="%{customdata:.4g}",
                        connectgaps=False,
                    )
                )
    grid = {"gridcolor": "#E4E4E4", "zeroline": False, "automargin": True}
    return go.Figure(
        traces,
        base_layout(
            margin={"l": 50, "r": 10, "t": 10, "b": 40},
            hovermode="x unified",
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
            xaxis={"title": {"text": axis_name(series[0].results, "x")}, **grid},
            yaxis={"title": {"text": label}, **grid},
            shapes=[
                {
                    "type": "line",
                    "x0": 0,
                    "x1": 0,
                    "yref": "paper",
                    "y0": 0,
                    "y1": 1,
                    "line": {"width": 1, "dash": "dot"},
                }
            ],
        ),
    )
