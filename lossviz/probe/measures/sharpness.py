"""The largest eigenvalues of the Hessian of the loss."""

import math

import torch
from torch import Tensor

from lossviz.engine.curvature import Hessian
from lossviz.engine.lanczos import largest
from lossviz.probe.measure import Coordinate, Measure, Step, Variable


def sharpness(step: Step) -> dict[str, Tensor]:
    """The largest eigenvalues of H = grad^2 L, the Hessian of the mean loss over `probe.sharpness.examples`.

    Mostly 10 to 20 Hessian-vector products an eigenvalue. Gradient descent with step eta is stable on a quadratic
    while the largest eigenvalue is below 2 / eta.

    Returns:
        hessian_eigenvalue, float64 (eigenvalues,), descending; NaN where the gradient is not finite, where an
        eigenvalue has not converged within 100 products, and beyond the number of parameters.
    """
    count = step.config.sharpness.eigenvalues
    hessian = Hessian(step.objective, step.subset or [step.batch])
    values = [value for value, _ in largest(hessian, hessian.start(), count)]
    padded = values + [math.nan] * (count - len(values))
    return {"hessian_eigenvalue": torch.tensor(padded, dtype=torch.float64)}


MEASURE = Measure(
    {"hessian_eigenvalue": Variable(("rank",), "largest eigenvalues of the Hessian of the data loss", "nat")},
    sharpness,
    lambda config: {"rank": Coordinate(range(1, config.sharpness.eigenvalues + 1), "rank, 1 the largest")},
    further="Hessian-vector products until Lanczos converges",
)
