"""The points of a scan and what is known of each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lossviz.config.surface import Axis
from lossviz.results import variable

TO_DO, DONE, NOT_FINITE = 0, 1, 2
Index = tuple[int, ...]


def coordinates(axis: Axis) -> np.ndarray:
    """Evenly spaced float64 coordinates (n,); 0 is exact in the middle of a symmetric range."""
    low, high, count = axis
    i = np.arange(count)
    return ((count - 1 - i) * low + i * high) / (count - 1)


@dataclass(frozen=True)
class Grid:
    """A line (along x) or a plane (y rows by x columns).

    Attributes:
        axes: coordinates by axis, in the order of the arrays' dimensions: ("y", "x") or ("x",).
        values: loss, loss_stderr, error and seconds, float64; NaN where nothing is known.
        status: int8; TO_DO, DONE or NOT_FINITE.
    """

    axes: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    status: np.ndarray

    @classmethod
    def empty(cls, x: Axis, y: Axis | None) -> "Grid":
        """A grid on which everything is still to do."""
        axes = ({"y": coordinates(y)} if y else {}) | {"x": coordinates(x)}
        shape = tuple(len(axis) for axis in axes.values())
        return cls(axes, {name: np.full(shape, np.nan) for name in _VALUES}, np.zeros(shape, np.int8))

    def restore(self, saved: xr.Dataset) -> None:
        """Take over what an earlier scan of the same grid has found."""
        for name, array in self.values.items():
            array[...] = saved[name].values
        self.status[...] = saved["status"].values

    def todo(self) -> Iterator[tuple[Index, dict[str, float]]]:
        """Index and coordinates of every point that is still to do."""
        for index in zip(*np.nonzero(self.status == TO_DO), strict=True):
            where = {name: float(axis[i]) for (name, axis), i in zip(self.axes.items(), index, strict=True)}
            yield tuple(int(i) for i in index), where

    def put(self, index: Index, loss: float, loss_stderr: float, error: float, seconds: float) -> None:
        """Record a point; a loss that is not finite is a result."""
        for array, value in zip(self.values.values(), (loss, loss_stderr, error, seconds), strict=True):
            array[index] = value
        self.status[index] = DONE if np.isfinite(loss) else NOT_FINITE

    @property
    def done(self) -> int:
        """Number of points that are known."""
        return int((self.status != TO_DO).sum())

    def dataset(self, attributes: dict[str, str | int | float]) -> xr.Dataset:
        """As in docs/results.md."""
        dims = tuple(self.axes)
        variables = {name: variable(dims, array, *_VALUES[name]) for name, array in self.values.items()}
        meaning = "0 to do, 1 done, 2 done and not finite"
        return xr.Dataset(
            {**variables, "status": variable(dims, self.status, meaning, "1")},
            coords={
                name: variable(name, axis, f"steps of the {name} direction", "1") for name, axis in self.axes.items()
            },
            attrs=attributes,
        )


_VALUES = {
    "loss": ("mean data loss", "nat"),
    "loss_stderr": ("standard error of the mean loss", "nat"),
    "error": ("error", "%"),
    "seconds": ("time the point took", "s"),
}
