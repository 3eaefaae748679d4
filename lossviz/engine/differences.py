"""Products with a matrix of second derivatives from gradients alone: central finite differences."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Gradient = Callable[[float], Tensor]
"""From h to the gradient at theta + h v, float64 (n,)."""

# Steps from the norm of theta downward, by halves. Rounding ends the search: float64 takes about 17 of them, float32 8.
HALVES = 40
# Truncation falls by 4 with every half; where it does not for so many, rounding or kinks are all that is left.
PATIENCE = 4


@dataclass
class Differences:
    """Central differences D(h) = (g(theta + h v) - g(theta - h v)) / 2h of the gradient g along unit vectors v.

    The error of D(h) is a h^2 of what is cut off and b / h of rounding, so |D(h) - D(2h)| is about 3 a h^2 + 1.1 b / h:
    twice that is stated. The step is the h at which it is smallest, chosen for the first product and kept.

    Attributes:
        step: h, the distance |delta theta|_2 on either side; NaN before the first product.
        largest: the largest |D(h)| so far.
        off: the largest error so far, in the same units.
    """

    step: float = math.nan
    largest: float = 0.0
    off: float = 0.0

    @property
    def error(self) -> float:
        """The error relative to the largest product: about that of the largest eigenvalue in size."""
        return self.off / self.largest if self.largest else 0.0

    def product(self, gradient: Gradient, size: float) -> Tensor:
        """H v, float64 (n,); NaN where the gradient is not finite.

        Args:
            gradient: along the unit vector v.
            size: |theta|_2, where the search for a step begins.
        """
        at_theta = gradient(0.0)
        if not bool(at_theta.isfinite().all()):
            return torch.full_like(at_theta, math.nan)
        if math.isnan(self.step):
            self.step = _chosen(gradient, size or 1.0)
        near, far = (_difference(gradient, h) for h in (self.step, 2 * self.step))
        self.largest = max(self.largest, float(near.norm()))
        self.off = max(self.off, 2 * float((near - far).norm()))
        return near


def _difference(gradient: Gradient, step: float) -> Tensor:
    return (gradient(step) - gradient(-step)) / (2 * step)


def _chosen(gradient: Gradient, size: float) -> float:
    """The step h = size / 2^k, k = 1, 2, ..., with the smallest |D(h) - D(2h)|."""
    best, chosen, waited = math.inf, size / 2, 0
    before = _difference(gradient, size)
    for k in range(1, HALVES + 1):
        step = size / 2**k
        here = _difference(gradient, step)
        apart = float((here - before).norm())
        before = here
        waited = 0 if apart < best else waited + math.isfinite(best)
        if apart < best:
            best, chosen = apart, step
        if best == 0 or waited == PATIENCE:
            break
    return chosen
