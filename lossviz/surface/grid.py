"""The points of a scan and what is known of each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lossviz.errors import RequestError
from lossviz.results import variable
from lossviz.surface.order import Index, coarse_to_fine

TO_DO, DONE, NOT_FINITE = 0, 1, 2
Range = tuple[float, float, int]

QUANTITIES = {
    "loss": ("mean data loss", "nat"),
    "loss_stderr": ("standard error of the mean loss", "nat"),
    "error": ("error", "%"),
    "test_loss": ("mean data loss on the test set", "nat"),
    "test_loss_stderr": ("standard error of the mean loss on the test set", "nat"),
    "test_error": ("error on the test set", "%"),
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
COMMENTS = {"hessian_max": _CURVATURE, "hessian_min": _CURVATURE}
LONG_NAMES = {"x": "x (units of d1)", "y": "y (units of d2)"}


def coordinates(axis: Range) -> np.ndarray:
    """Evenly spaced float64 coordinates (n,); one that is 0 but for rounding is exactly 0, the checkpoint itself."""
    low, high, count = axis
    i = np.arange(count)
    values = ((count - 1 - i) * low + i * high) / (count - 1)
    return np.where(np.abs(values) < 1e-12 * (high - low), 0.0, values)


def through_zero(low: float, high: float, count: int, one: bool = False) -> Range:
    """The least range of so many points that holds [low, high] and has 0 among its points, where 0 lies within.

    With `one`, 1 is among them too, where that is possible.
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


@dataclass(frozen=True)
class Grid:
    """A line (along x) or a plane (y rows by x columns).

    Attributes:
        axes: coordinates by axis, in the order of the arrays' dimensions: ("y", "x") or ("x",).
        values: quantities of `QUANTITIES` by name, float64; NaN where nothing is known.
        status: int8; TO_DO, DONE or NOT_FINITE.
    """

    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    status: np.ndarray

    @classmethod
    def empty(cls, x: Range, y: Range | None, names: Sequence[str] = ("loss", "loss_stderr", "error")) -> "Grid":
        """A grid on which everything is still to do, for some quantities and the seconds that points take."""
        axes = ({"y": coordinates(y)} if y else {}) | {"x": coordinates(x)}
        shape = tuple(len(axis) for axis in axes.values())
        return cls(axes, {name: np.full(shape, np.nan) for name in (*names, "seconds")}, np.zeros(shape, np.int8))

    @classmethod
    def of(cls, saved: xr.Dataset) -> "Grid":
        """The grid of a result file."""
        axes = {str(axis): saved[axis].values for axis in saved.status.dims}
        values = {name: saved[name].values.copy() for name in QUANTITIES if name in saved}
        return cls(axes, values, saved.status.values.copy())

    def where(self, index: Index) -> dict[str, float]:
        """Coordinates of a point, by axis."""
        return {name: float(axis[i]) for (name, axis), i in zip(self.axes.items(), index, strict=True)}

    def todo(self) -> list[Index]:
        """The points that are still to do, coarse to fine."""
        return [index for index in coarse_to_fine(self.status.shape) if self.status[index] == TO_DO]

    def put(self, index: Index, values: Mapping[str, float]) -> None:
        """Record a point; a loss that is not finite is a result."""
        for name, value in values.items():
            self.values[name][index] = value
        self.status[index] = DONE if np.isfinite(values["loss"]) else NOT_FINITE

    def take_over(self, saved: xr.Dataset, name: str) -> None:
        """Take over what an earlier scan of these directions found, on this grid or on one that this one holds.

        Raises:
            RequestError: a computed point would have no place.
        """
        places = {axis: _places(saved[axis].values, self.axes[axis]) for axis in self.axes}
        known = saved.status.values != TO_DO
        for dim, axis in enumerate(self.axes):
            lost = (places[axis] < 0) & known.any(axis=tuple(set(range(known.ndim)) - {dim}))
            if lost.any():
                old, new = saved[axis].values, self.axes[axis]
                raise RequestError(
                    f"{name}: holds points at {axis} = {old[lost][0]:g}, which surface.{axis} = "
                    f"[{new[0]:g}, {new[-1]:g}, {len(new)}] does not have\n"
                    f"  a scan is refined or extended by a grid that holds the old one, [{old[0]:g}, {old[-1]:g}, "
                    f"{len(old)}]; give another one a name of its own (--set surface.name=...), or discard this one "
                    "with --fresh"
                )
        there = np.ix_(*(places[axis] >= 0 for axis in self.axes))
        here = np.ix_(*(places[axis][places[axis] >= 0] for axis in self.axes))
        for quantity, array in self.values.items():
            array[here] = saved[quantity].values[there]
        self.status[here] = saved.status.values[there]

    @property
    def done(self) -> int:
        """Number of points that are known."""
        return int((self.status != TO_DO).sum())

    def dataset(self, attributes: Mapping[str, str | int | float]) -> xr.Dataset:
        """As in docs/results.md."""
        dims = tuple(self.axes)
        variables = {name: variable(dims, array, *QUANTITIES[name]) for name, array in self.values.items()}
        for name in variables.keys() & COMMENTS.keys():
            variables[name].attrs["comment"] = COMMENTS[name]
        meaning = "0 to do, 1 done, 2 done and not finite"
        return xr.Dataset(
            {**variables, "status": variable(dims, self.status, meaning, "1")},
            coords={name: variable(name, axis, LONG_NAMES[name], "1") for name, axis in self.axes.items()},
            attrs=dict(attributes),
        )


def _places(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The index in `new` of every coordinate of `old`; -1 where it is not among them.

    Equal up to the rounding of evenly spaced numbers.
    """
    nearest = np.abs(old[:, None] - new).argmin(axis=1)
    close = np.abs(new[nearest] - old) <= 1e-9 * (new[-1] - new[0]) / (len(new) - 1)
    return np.where(close, nearest, -1)
