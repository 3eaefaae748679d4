"""Interactive pages of scans: one HTML file each, with everything in it, that needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import plotly.graph_objects as go
import xarray as xr
import yaml
from plotly.offline import get_plotlyjs

from lossviz.errors import RequestError
from lossviz.plot.scale import Scale, common_scale
from lossviz.plot.scan import not_finite, protocol
from lossviz.plot.series import Series
from lossviz.plot.style import KEY

# A browser draws at most 16 views in space at a time, and fewer on a phone.
MOST = 12
FONT = {"family": 'system-ui, "DejaVu Sans", sans-serif', "size": 12, "color": "#222222"}
Scales = dict[str, Scale]


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


def both_scales(
    losses: Sequence[xr.DataArray], log: bool | None, clip: tuple[float, float] | None
) -> tuple[Scales, str]:
    """The scales that a page can switch between, linear and where possible log, and the one it begins with.

    Raises:
        RequestError: as `common_scale`.
    """
    first = common_scale(losses, log, clip)
    scales = {"linear": common_scale(losses, False, clip)}
    if scales["linear"].low > 0:
        scales["log"] = common_scale(losses, True, clip)
    return scales, "log" if first.log else "linear"


def page(
    title: str, panels: Sequence[Panel], start: str, hint: str, bar: Panel | None = None, wide: bool = False
) -> bytes:
    """An HTML page of panels that share the buttons linear and log.

    Args:
        title: of the page.
        panels: side by side, below one another where the window is narrow.
        start: the scale that is shown first.
        hint: what a reader can do.
        bar: the colour bar of all panels.
        wide: whether a panel is wider than high.

    Raises:
        RequestError: there are more panels than a browser can draw.
    """
    if len(panels) > MOST:
        raise RequestError(f"html: {len(panels)} runs are more than the {MOST} that one page can show\n  try --variant")
    scales = panels[0].figures
    figures = {f"panel-{place}": panel.figures for place, panel in enumerate(panels)}
    figures |= {"bar": bar.figures} if bar else {}
    template = Template(files("lossviz.plot").joinpath("page.html").read_text("utf-8"))
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
    """What a reader must know: what is not usual of the protocol, and points that are missing, and why."""
    holes = int(not_finite(each.results).sum())
    found = (
        [f"{holes:,} point{'s are' if holes > 1 else ' is'} not finite (hole{'s' if holes > 1 else ''})"]
        if holes
        else []
    )
    return [*protocol(each.results), *filter(None, [each.note]), *found]


def provenance(each: Series) -> str:
    """Where the numbers are from, as far as the file says: whose network, which examples, which directions."""
    attributes = each.results.attrs
    tree = yaml.safe_load(str(attributes.get("configuration", ""))) or {}
    directions = (tree.get("surface") or {}).get("directions") or {}
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
    """What the figures of all pages share."""
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
