"""Texts in a panel, each beside its place and none on another."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Annotation, Text

from lossviz.plot.style import TINY

OUTLINE: list[AbstractPathEffect] = [withStroke(linewidth=1.5, foreground="white")]


def name_beside(ax: Axes, x: float, y: float, name: str) -> Annotation:
    """A name beside a place of the panel."""
    style: dict[str, Any] = {"fontsize": TINY, "zorder": 7, "path_effects": OUTLINE, "annotation_clip": True}
    text = ax.annotate(name, (x, y), xytext=(0, 0), textcoords="offset points", **style)
    low, high = ax.get_xlim()
    next(_sides(text, rightmost=x > low + 0.6 * (high - low)))
    return text


def _sides(name: Annotation, rightmost: bool = False) -> Iterator[None]:
    """Move a name to one side of its place after another: right or left of it, above and below."""
    for right, above in product((not rightmost, rightmost), (True, False)):
        name.set(ha="left" if right else "right", va="bottom" if above else "top")
        name.xyann = (4 if right else -4, 3 if above else -3)
        yield


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


def _keep_apart(ax: Axes, names: Sequence[Annotation], lines: QuadContourSet | None) -> None:
    panel = ax.get_window_extent()
    taken = [line.get_window_extent() for line in ax.lines if line.get_linestyle() == "None"]
    labels: list[Text] = []
    if lines is not None:
        ax.clabel(lines, fontsize=TINY, fmt="%g", inline=False, colors="black")
        # From the outside in: near the minimum the lines crowd.
        labels = lines.labelTexts[::-1]
    for label in (*names, *labels):
        label.set_path_effects(OUTLINE)
        for _ in _sides(label) if isinstance(label, Annotation) else [None]:
            box = label.get_window_extent()
            if not box.count_overlaps(taken) and panel.contains(*box.min) and panel.contains(*box.max):
                taken.append(box)
                break
        else:
            label.remove()
