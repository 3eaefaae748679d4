"""The interactive page of a plane through a trained network: surfaces in space, side by side on one scale."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import to_hex

from lossviz.plot.export.page import Panel, base_layout, both_scales, muted, notes, page, provenance
from lossviz.plot.kit.axes import Floats, number
from lossviz.plot.kit.cells import lattice
from lossviz.plot.kit.labels import places_on_path
from lossviz.plot.kit.scale import Scale
from lossviz.plot.kit.style import COLOUR_MAP, NOT_FINITE
from lossviz.plot.series import DEFAULT, Options, Series
from lossviz.results import SurfaceResults

# Quantities that the pointer shows where the file has them, and how.
# Further losses, loss_NAME, come after these.
_HOVER = {
    "loss": "loss %{:.4g}",
    "loss_stderr": "± %{:.2g}",
    "error": "error %{:.2f} %",
    "test_loss": "test loss %{:.4g}",
    "test_error": "test error %{:.2f} %",
    "grad_norm": "gradient norm %{:.4g}",
    "hessian_min": "smallest eigenvalue %{:.4g}",
    "hessian_max": "largest eigenvalue %{:.4g}",
    "penalty": "penalty %{:.4g}",
    "examples": "%{:.0f} examples",
}


def plane_page(title: str, series: Sequence[Series], options: Options = DEFAULT) -> bytes:
    """A page with the surfaces of all runs over the same range of heights.

    Args:
        title: the page's.
        series: runs with the contents of their surface-<name>.nc, which have x and y.
        options: log, whether heights begin logarithmic, and clip; the pointer shows losses as they are.
    """
    scales, start = both_scales([each.results.loss for each in series], options)
    panels = [
        Panel(
            each.label,
            {name: _space(each.results, scale) for name, scale in scales.items()},
            notes(each),
            provenance(each),
        )
        for each in series
    ]
    bar = Panel("", {name: _bar(scale) for name, scale in scales.items()})
    return page(title, panels, start, "drag to turn, scroll or pinch to zoom, point to read", bar)


def _space(results: xr.Dataset, scale: Scale) -> go.Figure:
    low, high = scale.limits
    margin = 0.02 * (high - low)
    heights = {"title": {"text": scale.quantity}, "range": [low - margin, high + margin], **_ticks(scale, 6)}
    return go.Figure(
        [_surface(results, scale, (low, high)), *_checkpoints(results, scale)],
        base_layout(
            margin={"l": 0, "r": 0, "t": 0, "b": 0},
            showlegend=False,
            scene={
                "xaxis": {"title": {"text": "x"}, **muted()},
                "yaxis": {"title": {"text": "y"}, **muted()},
                "zaxis": {**heights, **muted()},
                "aspectmode": "manual",
                "aspectratio": {"x": 1, "y": 1, "z": 0.8},
                # A little left of the middle: the label of the heights would be cut off in a narrow panel.
                "camera": {"eye": {"x": 1.3, "y": -1.75, "z": 1.0}, "center": {"x": -0.09, "y": -0.07, "z": -0.12}},
            },
        ),
    )


def _surface(results: xr.Dataset, scale: Scale, limits: tuple[float, float]) -> go.Surface:
    # A partial scan shows what is known throughout: single points between unknown ones have no surface.
    known = lattice(results)
    said = _HOVER | {name: f"{term} %{{:.4g}}" for name, term in SurfaceResults(known).terms.items()}
    there = [name for name in said if name in known and (name == "loss" or np.isfinite(known[name]).any())]
    shown = {name: said[name] for name in there}
    lines = [
        text.replace("%{", f"%{{customdata[{place}]") + _after_number(known[name])
        for place, (name, text) in enumerate(shown.items())
    ]
    return go.Surface(
        x=known.x.values,
        y=known.y.values,
        z=scale.heights(SurfaceResults(known).values("loss")),
        customdata=np.stack([SurfaceResults(known).values(name) for name in shown], axis=-1),
        hovertemplate="<br>".join(["x %{x:.4g}, y %{y:.4g}", *lines]) + "<extra></extra>",
        colorscale=_colours(),
        cmin=limits[0],
        cmax=limits[1],
        showscale=False,
        connectgaps=False,
        contours={axis: {"highlight": True, "highlightcolor": "#FFFFFF"} for axis in ("x", "y")},
        lighting={"ambient": 0.75, "diffuse": 0.55, "specular": 0.05, "roughness": 0.9},
    )


def _checkpoints(results: xr.Dataset, scale: Scale) -> list[go.Scatter3d]:
    """The checkpoints at their places in the plane; a line joins those of a trajectory."""
    if "checkpoint_x" in results and "checkpoint_y" in results:
        x, y, loss = (results[f"checkpoint_{name}"].values for name in ("x", "y", "plane_loss"))
        names = [str(name) for name in results["checkpoint"].values]
    elif 0 in results.x.values and 0 in results.y.values:
        x, y, loss = np.zeros(1), np.zeros(1), SurfaceResults(results.sel(x=[0], y=[0])).values("loss").ravel()
        names = ["checkpoint"]
    else:
        return []
    inside = np.isfinite(loss) & (x >= results.x.values.min()) & (x <= results.x.values.max())
    inside &= (y >= results.y.values.min()) & (y <= results.y.values.max())
    # A little above their places, or the surface would hide half of every mark.
    low, high = scale.limits
    heights = np.where(inside, scale.heights(loss) + 0.015 * (high - low), np.nan)
    path = bool(results.attrs.get("trajectory"))
    own = {
        name: results[f"checkpoint_{name}"].values
        for name in ("loss", "error", "distance")
        if f"checkpoint_{name}" in results
    }
    marks = go.Scatter3d(
        x=x,
        y=y,
        z=heights,
        mode="markers",
        marker={"color": NOT_FINITE, "size": 4 if path else 5, "line": {"color": "#FFFFFF", "width": 1}},
        text=[_checkpoint(place, name, loss, own, _after_number(results.loss)) for place, name in enumerate(names)],
        hovertemplate="%{text}<extra></extra>",
    )
    if not path:
        return [marks]
    on = places_on_path(results)
    line = {"color": "#000000", "width": 4}
    return [go.Scatter3d(x=x[on], y=y[on], z=heights[on], mode="lines", line=line, hoverinfo="skip"), marks]


def _checkpoint(place: int, name: str, plane: Floats, own: Mapping[str, Floats], unit: str) -> str:
    lines = [escape(name), f"loss at its place in the plane {plane[place]:.4g}{unit}"]
    texts = {
        "loss": f"its own loss {{:.4g}}{unit}",
        "error": "its own error {:.2f} %",
        "distance": "distance from the plane {:.4g}",
    }
    lines += [text.format(own[quantity][place]) for quantity, text in texts.items() if quantity in own]
    return "<br>".join(lines)


def _bar(scale: Scale) -> go.Figure:
    """The colour bar that all surfaces share, as a figure of its own."""
    low, high = scale.limits
    bar = {
        "orientation": "h",
        "x": 0.5,
        "y": 0.5,
        "yanchor": "middle",
        "len": 0.94,
        "thickness": 12,
        "title": {"text": scale.label, "side": "top"},
        "outlinewidth": 0,
        **_ticks(scale, 8),
    }
    marker = {"color": [low], "cmin": low, "cmax": high, "colorscale": _colours(), "showscale": True, "colorbar": bar}
    hidden = {"visible": False, "fixedrange": True}
    return go.Figure(
        [go.Scatter(x=[None], y=[None], mode="markers", marker=marker, hoverinfo="skip")],
        base_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0}, xaxis=hidden, yaxis=hidden, showlegend=False),
    )


def _ticks(scale: Scale, most: int) -> dict[str, object]:
    levels = scale.levels[:: max(1, -(-len(scale.levels) // most))]
    at = np.log10(levels) if scale.log else levels
    return {"tickvals": list(at), "ticktext": [number(level) for level in levels]}


def _colours() -> list[list[object]]:
    return [[place, to_hex(colormaps[COLOUR_MAP](place))] for place in np.linspace(0, 1, 17).tolist()]


def _after_number(values: xr.DataArray) -> str:
    """The unit behind a number: nats for a loss and its derivatives if the file says so, else nothing."""
    return " nats" if values.attrs.get("units") == "nat" else ""
