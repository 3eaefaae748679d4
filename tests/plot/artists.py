"""What a test wants to know of the artists of a figure."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colorizer import ColorizingArtist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Kind = TypeVar("Kind", bound=Artist)


def legend(figure: Figure) -> list[str]:
    """Every entry of every legend."""
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def arrows(bar: Axes) -> list[str]:
    """The ends, min and max, at which the colours of a bar go on in an arrow; the bar itself is drawn from 0 to 1."""
    heights = [np.asarray(patch.get_path().vertices)[:, 1] for patch in bar.patches]
    return [end for each in heights for end, beyond in (("min", each.min() < 0), ("max", each.max() > 1)) if beyond]


def labelled(artists: Iterable[Kind], label: str) -> list[Kind]:
    return [artist for artist in artists if artist.get_label() == label]


def xs(line: Line2D) -> list[float]:
    return list(np.asarray(line.get_xdata(), dtype=float))


def ys(line: Line2D) -> list[float]:
    return list(np.asarray(line.get_ydata(), dtype=float))


def cells(mesh: ColorizingArtist) -> np.ma.MaskedArray:
    """The values of a mesh or an image, masked where nothing is drawn."""
    array = mesh.get_array()
    assert array is not None
    return np.ma.masked_invalid(array)
