"""The one style of all figures: sizes, fonts, and a colour, line and marker for each variant."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.colors import to_rgba

# Inches: the text and the column of a two-column paper.
TEXT_WIDTH = 6.75
COLUMN_WIDTH = 3.3

SMALL = 7.0
TINY = 6.0
THIN = 0.7
BOLD = 1.6
# With so few values the curve is a guess between points, which are then shown.
FEW = 30
BAND_ALPHA = 0.35

# Okabe & Ito (2008), told apart with every kind of colour vision; without yellow, too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# Another period than the colours', so that 28 variants differ, and print in grey tells neighbours apart.
LINES: tuple[Any, ...] = ("-", (0, (4, 1.3)), (0, (1.2, 1.1)), (0, (5, 1.2, 1.2, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "*")

COLOUR_MAP = "viridis"
# Neither is a colour of the map.
NOT_FINITE = "#D55E00"
NOT_DONE = "#E4E4E4"
KEY = "#555555"

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.35,
    "ytick.minor.width": 0.35,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.0,
    "grid.linewidth": 0.3,
    "hatch.linewidth": 0.4,
    # TrueType in PDF and text as text in SVG: what journals and Inkscape can edit.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    # Fixed identifiers: the same results give the same bytes.
    "svg.hashsalt": "lossviz",
}


@dataclass(frozen=True)
class Look:
    """How a variant appears in every figure."""

    colour: str
    line: Any
    marker: str

    @property
    def fill(self) -> tuple[float, float, float, float]:
        """The colour of a band through which others show."""
        return to_rgba(self.colour, BAND_ALPHA)


def look(index: int) -> Look:
    """The look of the variant at a place in its experiment's order."""
    return Look(COLOURS[index % len(COLOURS)], LINES[index % len(LINES)], MARKERS[index % len(MARKERS)])


def applied() -> AbstractContextManager[None]:
    """The style, for the length of a with block; a matplotlibrc of the person's own has no say."""
    return matplotlib.style.context(["default", _STYLE])
