"""What a figure is: a name, the results that it needs, and how they are drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from matplotlib.figure import Figure

from lossviz.plot.series import Options, PlottedRun

# File name without its ending, and what makes the figure.
Drawings = dict[str, Callable[[], Figure]]


class Needs(Protocol):
    """The results that a figure is made of."""

    @property
    def of_scans(self) -> bool:
        """Whether they are scans."""

    def find(self, name: str, runs: Sequence[PlottedRun], options: Options) -> Mapping[str, Sequence[Any]]:
        """The series of each figure that the runs make, by its file name without the ending; `name` is the kind."""

    def lack(self, runs: Sequence[PlottedRun]) -> str:
        """What the runs lack, and the command that makes it."""


def always(_: Sequence[PlottedRun]) -> bool:
    """For figures that are always drawn."""
    return True


def on_request(_: Sequence[PlottedRun]) -> bool:
    """For figures that are drawn only if they are named."""
    return False


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure, of the FIGURES of a file in figures/.

    Attributes:
        name: as in --figure.
        needs: where its series come from.
        draw: from the series of one figure, which have what it needs, and the options of the command line.
        table: the numbers beside it, as Markdown.
        by_default: whether it is worth drawing when no figure was named.
        dpi: pixels an inch of a PNG file.
    """

    name: str
    needs: Needs
    draw: Callable[[Sequence[Any], Options], Figure]
    table: Callable[[Sequence[Any]], str] | None = None
    by_default: Callable[[Sequence[PlottedRun]], bool] = always
    dpi: int = 300

    def drawings(self, runs: Sequence[PlottedRun], options: Options) -> Drawings:
        """The figures of this kind that the runs make."""
        found = self.needs.find(self.name, runs, options)
        return {stem: partial(self.draw, series, options) for stem, series in found.items()}

    def tables(self, runs: Sequence[PlottedRun], options: Options) -> dict[str, str]:
        """The tables beside them, by file name without its ending."""
        if self.table is None:
            return {}
        return {
            f"{stem}-table": self.table(series) for stem, series in self.needs.find(self.name, runs, options).items()
        }


@dataclass(frozen=True)
class FigureGroup:
    """Several kinds of figures under one name."""

    name: str
    needs: Needs
    kinds: Sequence[FigureKind]
    by_default: Callable[[Sequence[PlottedRun]], bool] = always
    dpi: int = 300

    def drawings(self, runs: Sequence[PlottedRun], options: Options) -> Drawings:
        """The figures of all kinds that the runs make."""
        return {stem: make for kind in self.kinds for stem, make in kind.drawings(runs, options).items()}

    def tables(self, runs: Sequence[PlottedRun], options: Options) -> dict[str, str]:
        """The tables beside them."""
        return {stem: text for kind in self.kinds for stem, text in kind.tables(runs, options).items()}
