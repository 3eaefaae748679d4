"""Names in a panel, each beside its place and none on another, and the marks of checkpoints."""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path as File
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from lossviz.plot.kit.axes import Floats, number
from lossviz.plot.kit.style import TINY
from lossviz.results import SurfaceResults

OUTLINE: list[AbstractPathEffect] = [withStroke(linewidth=1.5, foreground="white")]
# The mark of the trained network.
CROSS: dict[str, Any] = {
    "color": "black",
    "markersize": 5,
    "markeredgewidth": 0.8,
    "path_effects": OUTLINE,
    "zorder": 6,
}
# Whether it is right of and above its place, and points above or below it.
Side = tuple[bool, bool, float]
_NEAR, _FAR = 3.0, 12.0
# Pixels: closer texts read as one.
_GAP = 2.0
_STEP = re.compile(r"step[ -]0*(\d+)")


def name_beside(ax: Axes, x: float, y: float, name: str) -> Annotation:
    """A name beside a place of the panel."""
    style: dict[str, Any] = {"fontsize": TINY, "zorder": 7, "path_effects": OUTLINE, "annotation_clip": True}
    text = ax.annotate(name, (x, y), xytext=(0, 0), textcoords="offset points", **style)
    low, high = ax.get_xlim()
    _move(text, (x <= low + 0.6 * (high - low), True, _NEAR))
    return text


def _sides(*distances: float) -> list[Side]:
    """The sides of a place from the best to the worst: near and far, right and left, above and below."""
    return [(right, above, far) for far, right, above in product(distances, (True, False), (True, False))]


def _move(name: Text, side: Side) -> Bbox:
    """Move a name to a side of its place; other texts stay. Returns what it covers."""
    right, above, far = side
    if isinstance(name, Annotation):
        name.set(ha="left" if right else "right", va="bottom" if above else "top")
        name.xyann = (4 if right else -4, far if above else -far)
    return name.get_window_extent()


def keep_apart(
    drawn: Figure,
    axes: Sequence[Axes],
    names: Sequence[Sequence[Annotation]],
    lines: Sequence[QuadContourSet | None] = (),
) -> None:
    """Keep the names that have room on some side, the first ones first; then label the lines where there is room.

    Room is inside the panel, and neither on each other nor on single marks.

    Args:
        drawn: the figure, complete.
        axes: panels.
        names: of each panel.
        lines: contour lines of each panel, if there are any.
    """
    # Only in their final places can labels be kept apart.
    drawn.draw_without_rendering()
    for ax, own, contours in zip(axes, names, lines or [None] * len(axes), strict=True):
        _keep_apart(ax, own, contours)


def keep_off_curves(drawn: Figure, axes: Sequence[Axes], names: Sequence[Sequence[Annotation]]) -> None:
    """Move every name to the side where it touches the fewest curves, marks and names before it; keep all of them.

    Args:
        drawn: the figure, complete.
        axes: panels; curves on a second vertical axis count.
        names: of each panel.
    """
    drawn.draw_without_rendering()
    for ax, own in zip(axes, names, strict=True):
        lines = [line for each in ax.get_shared_x_axes().get_siblings(ax) for line in each.lines]
        curves = [line.get_path().transformed(line.get_transform()) for line in lines]
        taken = _marks(ax)
        for name in own:
            touched = {side: _touched(_move(name, side), ax, taken, curves) for side in _sides(_NEAR, _FAR)}
            taken.append(_move(name, min(touched, key=touched.__getitem__)).padded(_GAP))


def _touched(box: Bbox, ax: Axes, taken: Sequence[Bbox], curves: Sequence[Path]) -> tuple[bool, int]:
    """Whether a text leaves its panel, and how much it lies on."""
    crossed = sum(bool(curve.intersects_bbox(box, filled=False)) for curve in curves)
    return not _is_inside(box, ax), box.count_overlaps(taken) + crossed


def _is_inside(box: Bbox, ax: Axes) -> bool:
    panel = ax.get_window_extent()
    return bool(panel.contains(*box.min) and panel.contains(*box.max))


def _marks(ax: Axes) -> list[Bbox]:
    """The boxes that single marks cover."""
    return [line.get_window_extent() for line in ax.lines if line.get_linestyle() == "None"]


def _keep_apart(ax: Axes, names: Sequence[Annotation], lines: QuadContourSet | None) -> None:
    taken = _marks(ax)
    labels: list[Text] = []
    if lines is not None:
        ax.clabel(lines, fontsize=TINY, fmt=number, inline=False, colors="black")
        # From the outside in: near the minimum the lines crowd.
        labels = lines.labelTexts[::-1]
    for label in (*names, *labels):
        label.set_path_effects(OUTLINE)
        for side in _sides(_NEAR):
            box = _move(label, side)
            if not box.count_overlaps(taken) and _is_inside(box, ax):
                taken.append(box.padded(_GAP))
                break
        else:
            label.remove()


def has_checkpoints(results: xr.Dataset) -> bool:
    """Whether it is known where some checkpoints lie."""
    return "checkpoint_x" in results and results.sizes["checkpoint"] > 0


def has_path(results: xr.Dataset) -> bool:
    """Whether the checkpoints are the path of a training."""
    return bool(results.attrs.get("trajectory", 0)) and has_checkpoints(results)


def places_on_path(results: xr.Dataset) -> list[int]:
    """The places of the path among the checkpoints of a scan, in the order of the training.

    The file may have the scan's own checkpoint first, then networks that the directions lead to, then the steps of the
    run, which are the path. Principal components are those of all checkpoints, which are the path then.
    """
    places = range(results.sizes["checkpoint"])
    if SurfaceResults(results).directions.get("kind") == "pca":
        at, counted = steps(results)
        return sorted(places, key=at.__getitem__) if counted == "step" else list(places)
    # A step of the run; also where the scan's own checkpoint was named by its file.
    own = str(results.attrs.get("checkpoint", ""))
    given = [str(name) for name in results.checkpoint.values]
    matches = [_STEP.fullmatch(short_name(name) if name == own else name) for name in given]
    step = {place: int(match[1]) for place, match in enumerate(matches) if match}
    return sorted(step, key=step.__getitem__) or list(places)


def names(results: xr.Dataset) -> list[str]:
    """Short and different names: `step 50`, or the stem of a file, with its run where stems agree."""
    full = [str(each) for each in results.checkpoint.values]
    short = [short_name(each) for each in full]
    return [
        f"{_run(whole)} {name}".strip() if short.count(name) > 1 else name
        for whole, name in zip(full, short, strict=True)
    ]


def steps(results: xr.Dataset) -> tuple[Floats, str]:
    """The step of every checkpoint, or their numbers from 0 where some have none; and which of the two it is."""
    found = [_STEP.fullmatch(name) for name in names(results)]
    if all(found):
        return np.array([float(match[1]) for match in found if match]), "step"
    return np.arange(float(results.sizes["checkpoint"])), "checkpoint"


def mark_checkpoints(ax: Axes, results: xr.Dataset) -> list[Annotation]:
    """A small cross where the trained network is; circles for others, and names then, but not for a whole path.

    Returns:
        The names.
    """
    if all(axis.min() <= 0 <= axis.max() for axis in (results.x, results.y)):
        ax.plot([0], [0], "+", **CROSS)
    if not has_checkpoints(results) or "checkpoint_y" not in results or has_path(results):
        return []
    places = list(zip(results.checkpoint_x.values, results.checkpoint_y.values, strict=True))
    for x, y in places:
        if x or y:
            ax.plot([x], [y], **circle("white"), linestyle="none", zorder=6, label="other checkpoint")
    if len(places) == 1 and not any(places[0]):
        return []  # the cross, and nothing to tell it from
    return [name_beside(ax, *place, name) for place, name in zip(places, names(results), strict=True)]


def circle(colour: str) -> dict[str, Any]:
    """The mark of a checkpoint."""
    edge = {"markeredgecolor": "black", "markeredgewidth": 0.7}
    return {"marker": "o", "markersize": 4, "markerfacecolor": colour, **edge}


def short_name(name: str) -> str:
    """`step 50`, or the stem of a file."""
    stem = File(name).stem
    match = _STEP.fullmatch(stem)
    return f"step {match[1]}" if match else stem


def _run(name: str) -> str:
    """The folder of a checkpoint's run, or that in which the file lies."""
    folder = File(name).parent
    return (folder.parent if folder.name == "checkpoints" else folder).name
