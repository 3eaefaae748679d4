"""The checkpoints that a scan knows beside its own points: where they lie, what they are called, and their marks."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from lossviz.plot.axes import Floats
from lossviz.plot.labels import OUTLINE, name_beside

_STEP = re.compile(r"step[ -]0*(\d+)")


def has_checkpoints(results: xr.Dataset) -> bool:
    """Whether it is known where some checkpoints lie."""
    return "checkpoint_x" in results and results.sizes["checkpoint"] > 0


def has_path(results: xr.Dataset) -> bool:
    """Whether the checkpoints are the path of a training."""
    return bool(results.attrs.get("trajectory", 0)) and has_checkpoints(results)


def names(results: xr.Dataset) -> list[str]:
    """Short and different names: `step 50`, or the stem of a file, with its run where stems agree."""
    full = [str(each) for each in results.checkpoint.values]
    short = [short_name(each) for each in full]
    return [
        f"{_run(whole)} {name}".strip() if short.count(name) > 1 else name
        for whole, name in zip(full, short, strict=True)
    ]


def steps(results: xr.Dataset) -> Floats:
    """The step of every checkpoint; their numbers from 0 where some have none."""
    found = [_STEP.fullmatch(name) for name in names(results)]
    if all(found):
        return np.array([float(match[1]) for match in found if match])
    return np.arange(float(results.sizes["checkpoint"]))


def mark_checkpoints(ax: Axes, results: xr.Dataset) -> list[Annotation]:
    """A small cross where the trained network is; circles with names for the others, but not for a whole path.

    Returns:
        The names.
    """
    if all(axis.min() <= 0 <= axis.max() for axis in (results.x, results.y)):
        cross: dict[str, Any] = {"color": "black", "markersize": 5, "markeredgewidth": 0.8}
        ax.plot([0], [0], "+", **cross, path_effects=OUTLINE, zorder=6)
    if not has_checkpoints(results) or "checkpoint_y" not in results or has_path(results):
        return []
    places = list(zip(results.checkpoint_x.values, results.checkpoint_y.values, strict=True))
    for x, y in places:
        if x or y:
            ax.plot([x], [y], **circle("white"), linestyle="none", zorder=6, label="other checkpoint")
    return [name_beside(ax, *place, name) for place, name in zip(places, names(results), strict=True)]


def circle(colour: str) -> dict[str, Any]:
    """The mark of a checkpoint."""
    edge = {"markeredgecolor": "black", "markeredgewidth": 0.7}
    return {"marker": "o", "markersize": 4, "markerfacecolor": colour, **edge}


def short_name(name: str) -> str:
    """`step 50`, or the stem of a file."""
    stem = Path(name).stem
    match = _STEP.fullmatch(stem)
    return f"step {match[1]}" if match else stem


def _run(name: str) -> str:
    """The folder of a checkpoint's run, or that in which the file lies."""
    folder = Path(name).parent
    return (folder.parent if folder.name == "checkpoints" else folder).name
