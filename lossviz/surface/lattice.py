"""The coarse points of a grid, from which an estimated scan interpolates to the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

from lossviz.surface.grid import Index

# Of 51 points an axis has 15, every fourth and both ends: 225 of the 2,601 points of a plane.
MOST_COARSE = 17


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


def _around(i: int, places: Sequence[int]) -> list[tuple[int, float]]:
    if i in places:
        return [(i, 1.0)]
    below, above = max(each for each in places if each < i), min(each for each in places if each > i)
    return [(below, (above - i) / (above - below)), (above, (i - below) / (above - below))]
