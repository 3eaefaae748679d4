"""Histograms of activations as ridges: which steps are drawn, their densities, and how far they reach."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lossviz.plot.axes import Floats

# More would hide each other.
MOST = 25
# Share of the activations at either end that a panel need not show; a single one may lie far out.
_TAIL = 0.002


@dataclass(frozen=True)
class Ridge:
    """The distribution at one step."""

    step: int
    edges: Floats
    density: Floats
    complete: bool

    @property
    def middles(self) -> Floats:
        """The middles of the bins."""
        return np.asarray((self.edges[:-1] + self.edges[1:]) / 2)

    def quantiles(self, *shares: float) -> Floats:
        """Below which values these shares of the activations lie."""
        below = np.r_[0, np.cumsum(self.density * np.diff(self.edges))]
        return np.interp(shares, below, self.edges)


def thinned(steps: NDArray[np.integer]) -> NDArray[np.integer]:
    """Every step, or every second, or third...: at most 25."""
    return steps[:: -(-len(steps) // MOST)]


def nearest(steps: NDArray[np.integer], wanted: NDArray[np.integer]) -> NDArray[np.integer]:
    """The steps of a run that come nearest to those wanted, as far as the run goes."""
    within = wanted[wanted <= steps[-1]]
    return steps[sorted({int(np.abs(steps - step).argmin()) for step in within})]


def ridges_of(results: xr.Dataset, layer: int, steps: NDArray[np.integer]) -> list[Ridge]:
    """The distributions of a layer at some steps; none where the layer was not measured."""
    if layer not in results.layer.values:
        return []
    here = results.sel(layer=layer, step=steps)
    complete = np.isfinite(here.activation_mean.values) & np.isfinite(here.activation_variance.values)
    ridges = []
    for i, step in enumerate(here.step.values.tolist()):
        counts, edges = here.activation_histogram.values[i].astype(float), here.activation_edge.values[i].astype(float)
        total = counts.sum()
        known = bool(total > 0 and np.isfinite(edges).all())
        density = counts / total / np.diff(edges) if known else np.zeros_like(counts)
        ridges.append(Ridge(step, edges if known else np.linspace(0, 1, len(edges)), density, known and complete[i]))
    return ridges


def span(ridges: Sequence[Ridge]) -> tuple[float, float] | None:
    """The range that holds the activations of nearly all steps, but for the ends of their tails."""
    ends = np.array([ridge.quantiles(_TAIL, 1 - _TAIL) for ridge in ridges if ridge.density.any()])
    return (float(np.quantile(ends[:, 0], 0.05)), float(np.quantile(ends[:, 1], 0.95))) if len(ends) else None
