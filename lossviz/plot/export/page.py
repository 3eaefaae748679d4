"""Interactive pages of scans: one HTML file each, with everything in it, that needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import plotly.graph_objects as go
import xarray as xr
from plotly.offline import get_plotlyjs

from lossviz.errors import refuse
from lossviz.plot.kit.panels import axis_name, protocol
from lossviz.plot.kit.scale import Scale, common_scale
from lossviz.plot.kit.style import KEY
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import SurfaceResults

# A browser draws at most 16 views in space at a time, and fewer on a phone.
MOST = 12
FONT = {"family": 'system-ui, "DejaVu Sans", sans-serif', "size": 12, "color": "#222222"}
Scales = dict[str, Scale]
_CHECKPOINT = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"width": 1, "dash": "dot"}}
# Dots are for the test split.
_DASHES = ("solid", "dash", "dashdot", "longdashdot")


@dataclass(frozen=True)
class Panel:
    """One plot of a page: a figure for each scale, linear and, where losses allow it, log.

    Attributes:
        title: above it.
        figures: by the name of the scale.
        notes: below it; what a reader must not miss, such as holes.
        provenance: below it; where the numbers are from.
    """

    title: str
    figures: Mapping[str, go.Figure]
    notes: Sequence[str] = ()
    provenance: str = ""


def both_scales(losses: Sequence[xr.DataArray], options: Options) -> tuple[Scales, str]:
    """The scales that a page can switch between, linear and where possible log, and the one it begins with.

    Raises:
        RequestError: as `common_scale`.
    """
    first = common_scale(losses, options.log, options.clip)
    scales = {"linear": common_scale(losses, False, options.clip)}
    if scales["linear"].low > 0:
        scales["log"] = common_scale(losses, True, options.clip)
    return scales, "log" if first.log else "linear"


def page(
    title: str, panels: Sequence[Panel], start: str, hint: str, bar: Panel | None = None, wide: bool = False
) -> bytes:
    """An HTML page of panels that share the buttons linear and log.

    Args:
        title: the page's.
        panels: side by side, below one another where the window is narrow.
        start: the scale that is shown first.
        hint: what a reader can do.
        bar: the colour bar of all panels.
        wide: whether a panel is wider than high.

    Raises:
        RequestError: there are more panels than a browser can draw.
    """
    if len(panels) > MOST:
        refuse("html", f"{len(panels)} runs are more than the {MOST} that one page can show", advice="try --variant")
    scales = panels[0].figures
    figures = {f"panel-{place}": panel.figures for place, panel in enumerate(panels)}
    figures |= {"bar": bar.figures} if bar else {}
    template = Template(files("lossviz.plot.export").joinpath("page.html").read_text("utf-8"))
    text = template.substitute(
        title=escape(title),
        hint=escape(hint),
        width="30rem" if wide else f"{max(19, 74 // len(panels))}rem" if len(panels) < 4 else "19rem",
        aspect="1.4" if wide else "1.05",
        plotly=get_plotlyjs(),
        switch="".join(_button(name, name in scales) for name in ("linear", "log")),
        bar='<div id="bar" class="bar"></div>' if bar else "",
        panels="\n".join(_section(place, panel) for place, panel in enumerate(panels)),
        footer="drawn by lossviz; all numbers are as measured, only what is drawn is scaled or clipped",
        figures=_json(figures),
        scale=start,
    )
    return text.encode()


def notes(each: Series) -> list[str]:
    """Notes for the reader: non-default settings, and missing points with the reason."""
    holes = int(each.surface.not_finite.sum())
    found = (
        [f"{holes:,} point{'s are' if holes > 1 else ' is'} not finite (hole{'s' if holes > 1 else ''})"]
        if holes
        else []
    )
    return [*protocol(each.results), *filter(None, [each.note]), *found]


def provenance(each: Series) -> str:
    """The origin of the numbers as far as the file says: network, examples, directions."""
    attributes = each.results.attrs
    directions = each.surface.directions
    examples = attributes.get("examples")
    parts = {
        "": "/".join(str(attributes[name]) for name in ("experiment", "variant") if name in attributes),
        "checkpoint": Path(str(attributes.get("checkpoint", ""))).name,
        "examples": None if examples is None else f"{int(examples):,} ({attributes.get('split', 'train')})",
        "directions": attributes.get("directions", directions.get("kind")),
        "normalised by": directions.get("normalize"),
        "direction seed": directions.get("seed"),
        "training seed": attributes.get("seed"),
        "lossviz": attributes.get("lossviz"),
        "from": attributes.get("source"),
    }
    return " · ".join(f"{name} {value}".strip() for name, value in parts.items() if value not in (None, ""))


def base_layout(**further: object) -> dict[str, object]:
    """The layout that the figures of all pages share."""
    return {"template": "none", "font": FONT, "uirevision": "kept", "hoverlabel": {"align": "left"}, **further}


def muted() -> dict[str, object]:
    """An axis of a plot in space."""
    return {"gridcolor": "#DDDDDD", "zerolinecolor": "#BBBBBB", "showbackground": False, "color": KEY}


def _button(scale: str, there: bool) -> str:
    why = "" if there else ' disabled title="there are losses that have no logarithm"'
    return f'<button type="button" data-scale="{scale}" aria-pressed="false"{why}>{scale}</button>'


def _section(place: int, panel: Panel) -> str:
    remarks = "".join(f"<b>{escape(note)}</b><br>" for note in panel.notes)
    return (
        f'<section><h2>{escape(panel.title)}</h2><figure><div id="panel-{place}" class="plot"></div>'
        f"<figcaption>{remarks}{escape(panel.provenance)}</figcaption></figure></section>"
    )


def _json(figures: Mapping[str, Mapping[str, go.Figure]]) -> str:
    views = (
        f'"{name}": {{' + ", ".join(f'"{scale}": {figure.to_json()}' for scale, figure in by_scale.items()) + "}"
        for name, by_scale in figures.items()
    )
    # Nothing in it can end the script: plotly writes < as an escape.
    return "{" + ", ".join(views) + "}"


def line_page(title: str, series: Sequence[Series], options: Options = DEFAULT) -> bytes:
    """A page with loss and error along the direction.

    Args:
        title: the page's.
        series: runs with the contents of their surface-<name>.nc, which have x only.
        options: log, whether heights begin logarithmic, and clip; the pointer shows losses as they are.
    """
    drawn = [each.results[name] for each in series for name in ("loss", "test_loss") if name in each.results]
    scales, start = both_scales(drawn, options)
    said = [f"{each.label}: {', '.join(notes(each))}" for each in series if notes(each)]
    origins = " — ".join(dict.fromkeys(provenance(each) for each in series))
    panels = [
        Panel("loss", {name: _loss(series, scale) for name, scale in scales.items()}, said, origins),
        Panel("error", dict.fromkeys(scales, _curves(series, "error", "error (%)"))),
    ]
    hint = "point to read, drag to zoom, double-click to see all; dotted upright: the checkpoint"
    return page(title, panels, start, hint, wide=True)


def _loss(series: Sequence[Series], scale: Scale) -> go.Figure:
    figure = _curves(series, "loss", scale.label.replace(", clipped", "<br>clipped"), scale)
    low, high = scale.limits
    margin = 0.05 * (high - low)
    figure.update_yaxes(type="log" if scale.log else "linear", range=[low - margin, high + margin])
    return figure


def _curves(series: Sequence[Series], quantity: str, label: str, scale: Scale | None = None) -> go.Figure:
    traces = []
    for place, each in enumerate(series):
        known = ~each.surface.to_do
        # The test split too, if the scan measured both.
        for prefix, words in (("", ""), ("test_", ", test")):
            if f"{prefix}{quantity}" in each.results:
                raw = SurfaceResults(each.results).values(f"{prefix}{quantity}")[known]
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
            shapes=[_CHECKPOINT],
        ),
    )
