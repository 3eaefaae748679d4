"""The results of a scan: a view of what its file says of every point."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import xarray as xr
from numpy.typing import NDArray

from lossviz.files import read_sealed
from lossviz.results.kinds import Results

# The values of `status`.
TO_DO, DONE, NOT_FINITE = 0, 1, 2
STATUS = "0 to do, 1 done, 2 done and not finite"
LONG_NAMES = {"x": "x (units of d1)", "y": "y (units of d2)"}
# Relative to the distance between two points of an axis: nearer points are one, whatever their rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SurfaceResults(Results):
    """The results of a scan, surface-<name>.nc. Arrays of planes are (y, x), of lines (x,), whatever the file has."""

    @property
    def axes(self) -> tuple[str, ...]:
        """("y", "x") of a plane, ("x",) of a line."""
        return tuple(axis for axis in ("y", "x") if axis in self.data.dims)

    def values(self, quantity: str) -> NDArray[np.float64]:
        """A variable at all points; further dimensions come first."""
        return self._rows(quantity).astype(float)

    @property
    def to_do(self) -> NDArray[np.bool_]:
        """Which points are still to be computed."""
        return np.asarray(self._rows("status") == TO_DO)

    @property
    def not_finite(self) -> NDArray[np.bool_]:
        """Which points were computed and have a loss that is NaN or infinite."""
        return np.asarray(self._rows("status") == NOT_FINITE)

    @property
    def is_empty(self) -> bool:
        """Whether no point is computed yet."""
        return bool(self.to_do.all())

    @property
    def holds_centre(self) -> bool:
        """Whether the scan's own checkpoint is a point of the grid."""
        return all(0 in self.data[axis].values for axis in self.axes)

    @property
    def centre(self) -> xr.Dataset | None:
        """All variables at the scan's own checkpoint; None if the grid lacks it or it is not computed yet."""
        if not self.holds_centre:
            return None
        found = self.data.sel(dict.fromkeys(self.axes, 0))
        return None if bool((found.status == TO_DO).any()) else found

    @property
    def terms(self) -> dict[str, str]:
        """The variables of the further losses of the first split, `loss_NAME`, and their names."""
        # Those of a sampled scan have loss_deviation too, which has a further dimension.
        along = [str(name) for name, array in self.data.data_vars.items() if set(array.dims) == set(self.axes)]
        names = [name for name in along if name.startswith("loss_") and not name.endswith("_stderr")]
        return {name: name.removeprefix("loss_") for name in names}

    @property
    def name(self) -> str:
        """Which scan of its run it is, `scan NAME`; empty where the file does not say it."""
        name = self.config.get("surface", {}).get("name", "")
        return f"scan {name}" if name else ""

    @property
    def directions(self) -> Mapping[str, object]:
        """The section surface.directions of the configuration; empty where the file has none."""
        found: Mapping[str, object] = self.config.get("surface", {}).get("directions", {})
        return found

    def _rows(self, name: str) -> NDArray[np.generic]:
        # By name: x is the last dimension, whatever order the file has.
        return self.data[name].transpose(..., "x").values


def difference_stderr(one: xr.Dataset, two: xr.Dataset) -> xr.DataArray:
    """Standard error of a difference of two losses that were estimated from the same examples, by their deviations.

    With the deviations d_1 and d_2 over the groups of examples, n and k >= n examples of N,

        |d_1|^2 + |d_2|^2 - 2 sqrt((N - k) / (N - n)) <d_1, d_2>

    is its square (docs/accuracy.md). It is smaller than each of both errors where examples that are hard at one are
    hard at the other. Of a point that saw all examples in a low precision, n or k is how many it saw in full precision:
    its error is theirs.

    Args:
        one: variables `loss_deviation`, `examples` and `precise_examples` of a scan, at all points or some, and its
            attributes.
        two: those of others, or of another scan with the same examples, seed and points.
    """
    total = int(one.attrs["examples"])
    counts = [each.examples.where(each.examples < total, each.precise_examples) for each in (one, two)]
    more, fewer = np.maximum(*counts), np.minimum(*counts)
    # Samples share the error of what neither has seen too, and deviations are of what was seen.
    shared = ((total - more) / (total - fewer).clip(1)) ** 0.5
    squares = (one.loss_deviation - two.loss_deviation) ** 2
    products = one.loss_deviation * two.loss_deviation
    found: xr.DataArray = squares.sum("group", skipna=False) + 2 * (1 - shared) * products.sum("group", skipna=False)
    return found**0.5


def load_directions(path: Path) -> dict[str, NDArray[np.generic]]:
    """The directions of a scan, x/<parameter> and y/<parameter>, from its directions-<name>.safetensors.

    Raises:
        RequestError: there is no such file.
        WorkError: it is cut short or altered.
    """
    return safetensors.numpy.load(read_sealed(path, "restore it from a copy, or scan again with --fresh"))


def matching_points(one: NDArray[np.floating], two: NDArray[np.floating]) -> NDArray[np.intp]:
    """The index in `two`, an axis of evenly spaced points, of every point of `one`; -1 where it is not among them.

    Example:
        >>> matching_points(np.linspace(-1, 1, 3), np.linspace(-1, 1, 5))
        array([0, 2, 4])
    """
    nearest = np.abs(one[:, None] - two).argmin(axis=1)
    close = np.abs(two[nearest] - one) <= _ROUNDING * (two[-1] - two[0]) / (len(two) - 1)
    return np.where(close, nearest, -1)
