"""The ends of the spectrum of a symmetric operator that is known by its products only: Lanczos' method."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""From a float64 vector (n,) to the operator applied to it, float64 (n,)."""
Eigenpair = tuple[float, Tensor]
"""An eigenvalue and its unit eigenvector, float64 (n,)."""

# Bounds of the residual |A v - lambda v|, relative to |lambda|.
TOLERANCE = 1e-4
# An eigenvalue is better than its vector, mostly by the square of the residual. On ResNet-56 (Li et al.'s
# checkpoints) 3e-3 took 10 to 35 products, with errors below 1e-4; 1e-2 was once off by 4 %.
TOLERANCE_OF_EXTREMES = 3e-3
# What is left of a product, relative to the largest eigenvalue in size, when nothing is left but rounding: products in
# float32 are 1e-7 off, and the directions found so far are all that the start has a part in.
ROUNDING = 1e-6
MOST_STEPS = 100


def largest(product: Product, start: Tensor, count: int) -> list[Eigenpair]:
    """The largest eigenvalues (algebraically) with their eigenvectors, descending.

    One at a time, each in the complement of the eigenvectors before it: so repeated eigenvalues are found as
    often as they are there, which one Krylov space never shows.

    Args:
        product: the operator A.
        start: a random float64 vector (n,).
        count: how many.

    Returns:
        Eigenpairs; fewer than asked for where one has not converged, or n is smaller. |A v_k - lambda_k v_k| is at
        most 1e-4 of the 2-norm of (lambda_1, ..., lambda_k), as those before are known no better; after 100
        products 1e-4 of the largest in size counts as converged, too.

    Example:
        >>> matrix = torch.diag(torch.tensor([-5.0, 1.0, 3.0, 3.0], dtype=torch.float64))
        >>> start = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
        >>> [round(value, 6) for value, _ in largest(matrix.mv, start, count=3)]
        [3.0, 3.0, 1.0]
    """
    found: list[Eigenpair] = []
    while len(found) < min(count, len(start)):
        pair = _converged(product, torch.roll(start, len(found)), found, (-1,), TOLERANCE)
        if not pair:
            break
        found += pair
    return found


def extremes(product: Product, start: Tensor) -> tuple[float, float]:
    """The smallest and the largest eigenvalue, from one Krylov space: Lanczos converges at both ends at once.

    Each end is held against its own size. Relative to the larger one, as after a shift by it, a vector of the
    null space soon passes for the eigenvector of a small negative eigenvalue: on ResNet-56, with
    lambda_min = -0.017 lambda_max, after 2 products of the 24 that it takes.

    Args:
        product: the operator.
        start: a random float64 vector (n,).

    Returns:
        Each with a residual of at most 3e-3 of itself; or, after 100 products or when all that the start has a part in
        has been found to rounding (1e-6 of the larger in size), with what residual there is, at most 3e-3 of the
        larger. NaN where they have not converged so far, or a product is not finite.

    Example:
        >>> matrix = torch.diag(torch.tensor([-2.0, 0.0, 1.0, 4.0], dtype=torch.float64))
        >>> smallest, highest = extremes(matrix.mv, torch.ones(4, dtype=torch.float64))
        >>> round(smallest, 6), round(highest, 6)
        (-2.0, 4.0)
    """
    pairs = _converged(product, start, (), (0, -1), TOLERANCE_OF_EXTREMES)
    if not pairs:
        return math.nan, math.nan
    (smallest, _), (highest, _) = pairs
    return smallest, highest


def _converged(
    product: Product, start: Tensor, known: Sequence[Eigenpair], ends: tuple[int, ...], tolerance: float
) -> list[Eigenpair]:
    """Eigenpairs at the ends 0 (smallest), -1 (largest) in the complement of known ones; none if one does not converge.

    Full reorthogonalisation: keeps one float64 vector a product.
    """
    outside = [vector for _, vector in known]
    start = _orthogonal(start, outside)
    basis, diagonal, beside = [start / start.norm()], list[float](), list[float]()
    while True:
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        image = _orthogonal(image, [*outside, *basis])
        length = float(image.norm())
        if not math.isfinite(diagonal[-1] + length):
            return []
        values, weights = eigh_tridiagonal(diagonal, beside)
        sizes = np.abs(values[list(ends)])
        scale = max(map(abs, [*values, *(value for value, _ in known)]))
        last = len(basis) == MOST_STEPS
        bounds = tolerance * (scale if last else sizes)
        # Never the residual alone against the rounding: a vector of the null space has none, and would pass for the
        # eigenvector of an eigenvalue of -1e-4 times the largest one, a few products before that one is found.
        if length <= ROUNDING * scale or np.all(length * np.abs(weights[-1, list(ends)]) <= bounds):
            return [(float(values[end]), _combined(basis, weights[:, end])) for end in ends]
        if last:
            return []
        beside.append(length)
        basis.append(image / length)


def _orthogonal(vector: Tensor, basis: Sequence[Tensor]) -> Tensor:
    for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
        for each in basis:
            vector = vector - (vector @ each) * each
    return vector


def _combined(basis: Sequence[Tensor], weights: np.ndarray) -> Tensor:
    """A unit vector; of its two signs the one that leans toward the start."""
    vector = torch.zeros_like(basis[0])
    for weight, part in zip(weights.tolist(), basis, strict=True):
        vector.add_(part, alpha=math.copysign(1.0, weights[0]) * weight)
    return vector.div_(vector.norm())
