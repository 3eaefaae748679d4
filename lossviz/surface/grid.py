"""The points of a scan and what is known of each."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lossviz.config.surface import Axis
from lossviz.errors import refuse
from lossviz.results import DONE, NOT_FINITE, STATUS, TO_DO, variable
from lossviz.results.surface import LONG_NAMES, matching_points
from lossviz.surface.sampled.estimator import GROUPS

Interval = tuple[float, float]
Range = tuple[float, float, int]
Index = tuple[int, ...]
Quantities = Mapping[str, float | NDArray[np.float64]]
"""What is known of a point, by names of `QUANTITIES`."""

QUANTITIES = {
    "loss": ("mean data loss", "nat"),
    "loss_stderr": ("standard error of the mean loss", "nat"),
    "error": ("error", "%"),
    "error_stderr": ("standard error of the error", "%"),
    "examples": ("number of examples that were seen", "1"),
    "precise_examples": ("number of them that were seen in full precision", "1"),
    "loss_deviation": ("deviation of a group of examples", "nat"),
    "test_loss": ("mean data loss on the test set", "nat"),
    "test_loss_stderr": ("standard error of the mean loss on the test set", "nat"),
    "test_error": ("error on the test set", "%"),
    "test_error_stderr": ("standard error of the error on the test set", "%"),
    "test_examples": ("number of examples of the test set that were seen", "1"),
    "test_precise_examples": ("number of them that were seen in full precision", "1"),
    "test_loss_deviation": ("deviation of a group of examples of the test set", "nat"),
    "penalty": ("L2 penalty, weight_decay / 2 * |theta|^2", "nat"),
    "grad_norm": ("norm of the gradient of the loss", "nat"),
    "hessian_max": ("largest eigenvalue of the Hessian of the loss", "nat"),
    "hessian_min": ("smallest eigenvalue of the Hessian of the loss", "nat"),
    "seconds": ("time the point took", "s"),
}
_CURVATURE = (
    "residual at most 3e-3 of itself, or after 100 Hessian-vector products of the larger one; below 1e-5 of "
    "the other in size, it is zero as far as can be told"
)
_DEVIATION = (
    "the standard error of a loss is their norm over the groups; that of a difference of two losses from as many "
    "examples, in one scan or in two with the same examples and seed, is the norm of the difference of their deviations"
)
# Quantities with a number for each group of examples.
GROUPED = ("loss_deviation", "test_loss_deviation")
COMMENTS = dict.fromkeys(GROUPED, _DEVIATION) | {"hessian_max": _CURVATURE, "hessian_min": _CURVATURE}


def is_quantity(name: str) -> bool:
    """Whether a variable is one of a point: of `QUANTITIES`, or a term of the loss."""
    return name in QUANTITIES or name.removeprefix("test_").startswith("loss_")


def quantity(name: str) -> tuple[str, str]:
    """Meaning and units of a quantity; of a term of the loss: `loss_NAME`, `loss_NAME_stderr`, with `test_` before."""
    if name in QUANTITIES:
        return QUANTITIES[name]
    term = name.removeprefix("test_").removeprefix("loss_")
    where = " on the test set" if name.startswith("test_") else ""
    what = "standard error of the " if term.endswith("_stderr") else ""
    return f"{what}term {term.removesuffix('_stderr')} of the mean data loss{where}", "nat"


def axis_values(axis: Range) -> np.ndarray:
    """Evenly spaced float64 numbers (n,); one that is 0 but for rounding is exactly 0, the checkpoint itself.

    Example:
        >>> axis_values((-1, 1, 5)).tolist()
        [-1.0, -0.5, 0.0, 0.5, 1.0]
    """
    low, high, count = axis
    i = np.arange(count)
    values = ((count - 1 - i) * low + i * high) / (count - 1)
    return np.where(np.abs(values) < 1e-12 * (high - low), 0.0, values)


def through_zero(low: float, high: float, count: int, one: bool = False) -> Range:
    """The smallest range with `count` points that contains [low, high] and, if 0 lies inside, has 0 on the grid.

    With `one`, 1 is among them too, where that is possible.

    Example:
        >>> through_zero(-0.9, 2, count=4)
        (-1.0, 2.0, 4)
    """
    if not low < 0 < high or count < 3:
        return low, high, count
    for k in range(count - 2, 0, -1) if one else ():  # points from 0 to 1
        below = math.ceil(-low * k - 1e-9)
        if count - 1 - below >= high * k - 1e-9:
            return -below / k, (count - 1 - below) / k, count
    steps = {below: max(-low / below, high / (count - 1 - below)) for below in range(1, count - 1)}
    below, step = min(steps.items(), key=lambda each: each[1])
    return -below * step, (count - 1 - below) * step, count


def resolve(axis: Axis, automatic: Interval | None = None, one: bool = False) -> Range:
    """A configured axis with its bounds in numbers.

    Args:
        axis: min, max and number of points; bounds may be auto.
        automatic: what auto means; -1 and 1 unless given.
        one: whether 1 should be among the points, as 0 is, where both bounds are auto.

    Raises:
        RequestError: it does not grow.
    """
    low, high, count = axis
    least, greatest = automatic or (-1.0, 1.0)
    if low == "auto" and high == "auto":
        return through_zero(least, greatest, count, one)
    first, last = least if low == "auto" else low, greatest if high == "auto" else high
    if first >= last:
        problem = f"an axis [{low}, {high}, {count}] would run from {first:g} to {last:g}, and must grow"
        refuse("surface", problem, advice="give both ends, or leave both to auto")
    return first, last, count


@dataclass(frozen=True)
class Grid:
    """A line (along x) or a plane (y rows by x columns).

    Attributes:
        axes: their numbers by axis, in the order of the arrays' dimensions: ("y", "x") or ("x",).
        values: quantities of `QUANTITIES` by name, float64; NaN where nothing is known. Those of `GROUPED` have one
            more dimension, the last.
        status: int8; TO_DO, DONE or NOT_FINITE.
    """

    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    status: np.ndarray

    @classmethod
    def empty(cls, x: Range, y: Range | None, names: Sequence[str] = ("loss", "loss_stderr", "error")) -> "Grid":
        """A grid on which everything is still to do, for some quantities and the seconds that points take."""
        return cls.unknown(({"y": axis_values(y)} if y else {}) | {"x": axis_values(x)}, names)

    @classmethod
    def unknown(cls, axes: dict[str, np.ndarray], names: Sequence[str]) -> "Grid":
        """A grid with these axes, on which everything is still to do."""
        shape = tuple(len(axis) for axis in axes.values())
        shapes = {name: (*shape, GROUPS) if name in GROUPED else shape for name in (*names, "seconds")}
        values = {name: np.full(each, np.nan) for name, each in shapes.items()}
        return cls(axes, values, np.zeros(shape, np.int8))

    @classmethod
    def of(cls, saved: xr.Dataset) -> "Grid":
        """The grid of a result file."""
        axes = {str(axis): saved[axis].values for axis in saved.status.dims}
        names = [str(name) for name in saved.data_vars if is_quantity(str(name))]
        values = {name: saved[name].values.copy() for name in names}
        return cls(axes, values, saved.status.values.copy())

    def where(self, index: Index) -> dict[str, float]:
        """The position of a point, by axis."""
        return {name: float(axis[i]) for (name, axis), i in zip(self.axes.items(), index, strict=True)}

    def place(self, index: Index) -> dict[str, float]:
        """The position of a point in the plane: on a line, y is 0."""
        return {"y": 0.0, **self.where(index)}

    def todo(self) -> list[Index]:
        """The points that are still to do, coarse to fine."""
        return [index for index in coarse_to_fine(self.status.shape) if self.status[index] == TO_DO]

    def put(self, index: Index, values: Quantities) -> None:
        """Record a point; a loss that is not finite is a result."""
        for name, value in values.items():
            self.values[name][index] = value
        self.status[index] = DONE if np.isfinite(values["loss"]) else NOT_FINITE

    def take_over(self, old: "Grid", name: str) -> None:
        """Take over what an earlier scan of these directions found, on this grid or on one that this one holds.

        Args:
            old: its grid.
            name: of its file, for the message.

        Raises:
            RequestError: a computed point would have no place.
        """
        places = {axis: matching_points(old.axes[axis], self.axes[axis]) for axis in self.axes}
        known = old.status != TO_DO
        for dim, axis in enumerate(self.axes):
            lost = (places[axis] < 0) & known.any(axis=tuple(set(range(known.ndim)) - {dim}))
            if lost.any():
                before, now = old.axes[axis], self.axes[axis]
                refuse(
                    str(name),
                    f"holds points at {axis} = {before[lost][0]:g}, which surface.{axis} = "
                    f"[{now[0]:g}, {now[-1]:g}, {len(now)}] does not have",
                    advice=f"a scan is refined or extended by a grid that holds the old one, [{before[0]:g}, "
                    f"{before[-1]:g}, {len(before)}]; give another one a name of its own (--set surface.name=...), or "
                    "discard this one with --fresh",
                )
        there = np.ix_(*(places[axis] >= 0 for axis in self.axes))
        here = np.ix_(*(places[axis][places[axis] >= 0] for axis in self.axes))
        for quantity, array in self.values.items():
            array[here] = old.values[quantity][there]
        self.status[here] = old.status[there]

    @property
    def done(self) -> int:
        """Number of points that are known."""
        return int((self.status != TO_DO).sum())

    def dataset(self, attributes: Mapping[str, str | int | float]) -> xr.Dataset:
        """The grid as docs/results.md describes it."""
        dims = tuple(self.axes)
        variables = {
            name: variable((*dims, "group") if name in GROUPED else dims, array, *quantity(name))
            for name, array in self.values.items()
        }
        for name in variables.keys() & COMMENTS.keys():
            variables[name].attrs["comment"] = COMMENTS[name]
        return xr.Dataset(
            {**variables, "status": variable(dims, self.status, STATUS, "1")},
            coords={name: variable(name, axis, LONG_NAMES[name], "1") for name, axis in self.axes.items()},
            attrs=dict(attributes),
        )


def coarse_to_fine(shape: Sequence[int]) -> list[Index]:
    """All indices of a grid, those of coarser lattices first, row by row within each.

    The lattice of stride s has, along each axis, every s-th index counted from the middle, and both ends; strides
    halve from one lattice to the next, and each holds the one before. On 51 x 51 points the lattice of stride 8
    (9 x 9 points) is complete after 3 % of the work.

    Example:
        >>> coarse_to_fine((5,))
        [(0,), (2,), (4,), (1,), (3,)]
    """
    fineness = [_fineness(count) for count in shape]
    levels = {index: max(each[i] for each, i in zip(fineness, index, strict=True)) for index in _rows(shape)}
    return sorted(levels, key=lambda index: levels[index])


def _fineness(count: int) -> list[int]:
    """The stride, as minus its logarithm, of the coarsest lattice that holds each index of an axis."""
    middle, coarsest = (count - 1) // 2, max((count - 1) // 2, 1).bit_length() - 1
    found = []
    for i in range(count):
        distance = abs(i - middle)
        exponent = (distance & -distance).bit_length() - 1 if distance else coarsest
        found.append(-(coarsest if i in (0, count - 1) else min(exponent, coarsest)))
    # What the coarsest lattice of an axis holds is in the coarser ones of longer axes too.
    return [-63 if each == -coarsest else each for each in found]


def _rows(shape: Sequence[int]) -> Iterator[Index]:
    return product(*(range(count) for count in shape))
