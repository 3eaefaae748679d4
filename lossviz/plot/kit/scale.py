"""The one scale of the loss that all surfaces of a figure share: range, logarithm, colours, levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator

from lossviz.errors import refuse
from lossviz.plot.kit.axes import Floats, finite, is_steep, with_unit

# Levels per decade, coarse to fine; all of them have short labels.
_PER_DECADE = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 3.9, 4.7, 5.6, 6.8, 8.2),
)
_LEVELS = 8


@dataclass(frozen=True)
class Scale:
    """The range of the loss, or of another quantity, that is drawn."""

    low: float
    high: float
    log: bool
    clip: tuple[float, float] | None = None
    extend: str = "neither"
    quantity: str = "loss"

    @property
    def norm(self) -> Normalize:
        """The mapping from loss to colour."""
        return (LogNorm if self.log else Normalize)(self.low, self.high)

    @property
    def label(self) -> str:
        """The label of a colour bar or axis."""
        return self.quantity + (f", clipped to [{self.clip[0]:g}, {self.clip[1]:g}]" if self.clip else "")

    @property
    def levels(self) -> Floats:
        """About a dozen round values inside the range; logarithmic ones when the scale is."""
        levels = self._log_levels() if self.log else np.asarray(MaxNLocator(13).tick_values(self.low, self.high))
        return levels[(levels >= self.low) & (levels <= self.high)]

    @property
    def bounds(self) -> Floats:
        """The levels, closed by the ends of the range: what colours are filled between."""
        return np.unique(np.r_[self.low, self.levels, self.high])

    def clipped(self, losses: Floats) -> Floats:
        """Losses as drawn: finite ones inside the range, the others NaN, which nothing draws."""
        known = np.where(np.isfinite(losses), losses, np.nan)
        return known if self.clip is None else np.clip(known, *self.clip)

    def heights(self, losses: Floats) -> Floats:
        """Losses as heights over a plane: as drawn, or the logarithms to base 10 where the scale is logarithmic."""
        return np.log10(self.clipped(losses)) if self.log else self.clipped(losses)

    @property
    def limits(self) -> tuple[float, float]:
        """The heights of both ends of the range."""
        return (float(np.log10(self.low)), float(np.log10(self.high))) if self.log else (self.low, self.high)

    def _log_levels(self) -> Floats:
        first, last = int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high)))
        stride = max(1, (last - first) // 14)
        decades = 10.0 ** np.arange(first, last + 1, stride)
        for digits in _PER_DECADE:
            levels = np.outer(decades, digits).ravel()
            inside = levels[(levels >= self.low) & (levels <= self.high)]
            if len(inside) >= _LEVELS:
                break
        return inside


def common_scale(losses: Sequence[xr.DataArray], log: bool | None, clip: tuple[float, float] | None) -> Scale:
    """The scale for the losses of all runs, in their unit where they have the same.

    Args:
        losses: of any shape; values that are not finite do not count.
        log: whether it is logarithmic; None: when all are positive and the range is wider than a factor 20.
        clip: losses beyond are drawn at these limits.

    Raises:
        RequestError: the logarithm of a loss that is not positive was asked for.
    """
    raw, quantity = finite([each.values for each in losses]), with_unit(losses)
    values = raw if clip is None else np.clip(raw, *clip)
    if not values.size:
        return Scale(0.1, 1.0, bool(log), clip, quantity=quantity)
    low, high = float(values.min()), float(values.max())
    if log and low <= 0:
        refuse(f"a logarithmic scale cannot show the loss {low:g}", advice="draw it linear, or clip it above zero")
    log = is_steep(values) if log is None else log
    below, above = (bool(raw.min() < clip[0]), bool(raw.max() > clip[1])) if clip else (False, False)
    extend = extension(below, above)
    if low == high:  # a flat surface still needs a range
        low, high = (low / 1.1, high * 1.1) if log else (low - 0.1 * (abs(low) or 1), high + 0.1 * (abs(high) or 1))
    return Scale(low, high, log, clip, extend, quantity)


def extension(below: bool, above: bool) -> str:
    """The ends of a colour bar beyond which there are values."""
    return {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[below, above]
