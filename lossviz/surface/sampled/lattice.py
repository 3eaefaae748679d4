"""The coarse points of a grid, and how the losses of single examples are interpolated from them to the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from lossviz.surface.grid import Index
from lossviz.surface.sampled.estimator import Values

# Of 51 points an axis has 15, every fourth and both ends: 225 of the 2,601 points of a plane.
MOST_COARSE = 17
# float32 has no cross-entropy between 0 and this.
SMALLEST_LOSS = 6e-8


@dataclass(frozen=True)
class Lattice:
    """Every s-th point along each axis, counted from the middle, and both ends; s is a power of two.

    Attributes:
        shape: of the grid.
    """

    shape: Sequence[int]

    @cached_property
    def axes(self) -> list[list[int]]:
        """The coarse places along each axis, ascending."""
        return [coarse_places(count) for count in self.shape]

    @property
    def points(self) -> list[Index]:
        """The coarse points."""
        return list(product(*self.axes))

    def __contains__(self, index: Index) -> bool:
        return all(i in places for i, places in zip(index, self.axes, strict=True))

    def around(self, index: Index) -> Mapping[Index, float]:
        """The coarse points around a point, with the weights of (bi)linear interpolation."""
        sides = [_around(i, places) for i, places in zip(index, self.axes, strict=True)]
        return {tuple(i for i, _ in corner): prod(weight for _, weight in corner) for corner in product(*sides)}


def coarse_places(count: int) -> list[int]:
    """The coarse places along an axis.

    Example:
        >>> coarse_places(25)
        [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    """
    middle, stride = (count - 1) // 2, 1
    places = list(range(count))
    while stride == 1 or len(places) > MOST_COARSE:
        stride *= 2
        places = sorted({0, count - 1, *range(middle % stride, count, stride)})
    return places


def interpolate(parents: Sequence[Values], weights: Sequence[float]) -> list[Values]:
    """Control variates from examples at points around: (m, 2), on the examples that all of them have seen.

    Losses are interpolated as they are, and as the log-odds of the right answer, log(e^l - 1) of a cross-entropy l.
    These move as the outputs do: near a minimum losses grow by orders of magnitude between two points of a grid.
    """
    m = min(map(len, parents))
    mixed = sum(weight * parent[:m] for weight, parent in zip(weights, parents, strict=True))
    assert isinstance(mixed, np.ndarray)
    if any((parent[:, 0] < 0).any() for parent in parents):
        return [mixed]
    odds = sum(weight * _log_odds(parent[:m, 0]) for weight, parent in zip(weights, parents, strict=True))
    return [np.stack([np.logaddexp(0, odds), mixed[:, 1]], axis=1), mixed]


def _log_odds(losses: Values) -> Values:
    """log(e^l - 1), which is l for large ones; of losses that are rounded to 0 as of the smallest others."""
    return losses + np.log(-np.expm1(-np.maximum(losses, SMALLEST_LOSS)))


def _around(i: int, places: Sequence[int]) -> list[tuple[int, float]]:
    if i in places:
        return [(i, 1.0)]
    below, above = max(each for each in places if each < i), min(each for each in places if each > i)
    return [(below, (above - i) / (above - below)), (above, (i - below) / (above - below))]
