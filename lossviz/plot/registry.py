"""The table of all figures; light enough for --help, as each file is imported when its figure is drawn."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossviz.plot.figure import FigureGroup, FigureKind


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        file: in figures/, without its ending; its FIGURE has the name of the entry.
        words: what --help says of it, where the name does not say enough.
    """

    file: str
    words: str = ""

    def load(self) -> "FigureKind | FigureGroup":
        """The figure itself."""
        found: FigureKind | FigureGroup = import_module(f"lossviz.plot.figures.{self.file}").FIGURE
        return found


# In the order in which they are drawn.
FIGURES = {
    "training": Entry("training"),
    "residual": Entry("residual", "plain beside residual networks, with a table of their errors"),
    "landscape": Entry("landscape"),
    "activations": Entry("activations"),
    "moments": Entry("moments"),
    "shift": Entry("shift"),
    "sharpness": Entry("sharpness"),
    "scalars": Entry("scalars", "measures that are one number a step, such as critical-sharpness"),
    "surface": Entry("surface", "the next four"),
    "contour": Entry("contour"),
    "heatmap": Entry("heatmap"),
    "3d": Entry("surface_3d"),
    "line": Entry("line"),
    "relief": Entry("relief", "surfaces rendered with light and shade; needs lossviz[vtk]"),
    "difference": Entry("difference", "of two planes, the second minus the first"),
    "seeds": Entry("seeds"),
    "convexity": Entry("convexity"),
    "trajectory": Entry("trajectory"),
}


def figures_help() -> str:
    """The help of --figure."""
    names = [f"{name} ({entry.words})" if entry.words else name for name, entry in FIGURES.items()]
    return f"Draw only {', '.join(names[:-1])} or {names[-1]}. Repeatable."
