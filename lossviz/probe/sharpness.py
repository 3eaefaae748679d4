"""The largest eigenvalues of the Hessian of the loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import Hessian
from lossviz.engine.lanczos import largest
from lossviz.engine.objective import Objective


def sharpness(objective: Objective, batches: Sequence[Minibatch], count: int) -> Tensor:
    """The largest eigenvalues of H = grad^2 L, the Hessian of the mean loss over some batches.

    Mostly 10 to 20 Hessian-vector products an eigenvalue. Gradient descent with step eta is stable on a quadratic
    while the largest eigenvalue is below 2 / eta.

    Args:
        objective: in the mode in which the loss is meant.
        batches: their examples together are the set over which L is the mean.
        count: how many eigenvalues.

    Returns:
        float64 (count,), descending; NaN where the gradient is not finite, where an eigenvalue has not
        converged within 100 products, and beyond the number of parameters.

    Raises:
        WorkError: the network has no second derivatives.
    """
    hessian = Hessian(objective, batches)
    values = [value for value, _ in largest(hessian, hessian.start(), count)]
    return torch.tensor(values + [math.nan] * (count - len(values)), dtype=torch.float64)
