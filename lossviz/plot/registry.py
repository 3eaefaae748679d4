"""The table of all figures; light enough for --help, as each file is imported when its figure is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossviz.plot.figure import FigureGroup, FigureKind


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        file: in figures/, without its ending; its FIGURES have the figure of this name.
        words: what --help says of it, where the name does not say enough.
    """

    file: str
    words: str = ""


# In the order in which they are drawn.
FIGURES = {
    "training": Entry("training"),
    "residual": Entry("residual", "plain beside residual networks, with a table of their errors"),
    "landscape": Entry("landscape"),
    "activations": Entry("activations"),
    "moments": Entry("layers"),
    "shift": Entry("layers"),
    "sharpness": Entry("scalars"),
    "scalars": Entry("scalars", "measures that are one number a step, such as critical-sharpness"),
    "surface": Entry("plane", "contour, heatmap, 3d and line"),
    "contour": Entry("plane"),
    "heatmap": Entry("plane"),
    "3d": Entry("space"),
    "line": Entry("line"),
    "relief": Entry("space", "surfaces rendered with light and shade; needs lossviz[vtk]"),
    "difference": Entry("difference", "of two planes, the second minus the first"),
    "seeds": Entry("seeds"),
    "accuracy": Entry("plane", "the standard error of each point"),
    "convexity": Entry("plane"),
    "trajectory": Entry("trajectory"),
}


def load_figure(name: str) -> "FigureKind | FigureGroup":
    """The figure of this name."""
    kinds: Sequence[FigureKind | FigureGroup] = import_module(f"lossviz.plot.figures.{FIGURES[name].file}").FIGURES
    return next(kind for kind in kinds if kind.name == name)


def figures_help() -> str:
    """The help of --figure."""
    names = [f"{name} ({entry.words})" if entry.words else name for name, entry in FIGURES.items()]
    return f"Draw only {', '.join(names[:-1])} or {names[-1]}. May be repeated."
