"""The largest eigenvalues of the Hessian of the loss."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.errors import WorkError

# Relative accuracy of an eigenvalue; a Hessian-vector product in float32 carries about 1e-5.
TOLERANCE = 1e-4


def sharpness(objective: Objective, batches: Sequence[Minibatch], count: int) -> Tensor:
    """The largest eigenvalues of H = grad^2 L, the Hessian of the mean loss over some batches.

    Lanczos (ARPACK, implicitly restarted) on Hessian-vector products H v = grad <grad L, v>, from a fixed
    start vector. Gradient descent with step eta is stable on a quadratic while the largest is below 2 / eta.

    Args:
        objective: in the mode in which the loss is meant.
        batches: their examples together are the set over which L is the mean.
        count: how many eigenvalues.

    Returns:
        float64 (count,), descending; NaN where the gradient is not finite.

    Raises:
        WorkError: the network has no second derivatives, or Lanczos does not converge.
    """
    sizes = [parameter.numel() for parameter in objective.parameters]
    dimension = sum(sizes)

    def product(vector: np.ndarray) -> np.ndarray:
        flat = torch.from_numpy(np.ascontiguousarray(vector.ravel()))
        parts = [
            part.view(parameter.shape).to(parameter)
            for part, parameter in zip(torch.split(flat, sizes), objective.parameters, strict=True)
        ]
        return hessian_vector_product(objective, batches, parts).cpu().numpy()

    start = np.random.default_rng(0).standard_normal(dimension)
    first = product(start)
    if not np.isfinite(first).all():
        return torch.full((count,), float("nan"), dtype=torch.float64)
    if not first.any():  # a random vector lies in no null space but the whole one, where ARPACK cannot start
        return torch.zeros(count, dtype=torch.float64)
    if dimension <= count + 1:
        matrix = np.stack([product(column) for column in np.eye(dimension)])
        values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    else:
        operator = LinearOperator((dimension, dimension), matvec=product, dtype=np.float64)
        try:
            values = eigsh(operator, k=count, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False)
        except ArpackNoConvergence as error:
            raise WorkError("sharpness: Lanczos did not converge; measure on more examples") from error
    return torch.from_numpy(np.sort(values)[::-1][:count].copy())


def hessian_vector_product(objective: Objective, batches: Sequence[Minibatch], vector: Sequence[Tensor]) -> Tensor:
    """H v over all parameters, flattened, float64; each batch weighs by its share of the examples."""
    examples = sum(len(batch.targets) for batch in batches)
    total = torch.zeros(sum(part.numel() for part in vector), dtype=torch.float64, device=objective.device)
    for batch in batches:
        loss = objective.apply(batch)[1] * (len(batch.targets) / examples)
        gradient = torch.autograd.grad(
            loss, objective.parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        along = torch.stack([(g * v).sum() for g, v in zip(gradient, vector, strict=True)]).sum()
        if along.requires_grad:  # else the loss is linear in the parameters, without curvature
            total += torch.cat([part.double().flatten() for part in _differentiate_all(along, objective.parameters)])
    return total


def _differentiate_all(value: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a value that is itself made of gradients.

    backward() and not autograd.grad(): the latter prunes the nodes that say "cannot be differentiated twice",
    and the curvature would silently be too small.
    """
    kept = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        value.backward()  # type: ignore[no-untyped-call]
        return [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    except RuntimeError as error:
        raise WorkError(f"sharpness: this network has no second derivatives: {error}") from error
    finally:
        for parameter, grad in zip(parameters, kept, strict=True):
            parameter.grad = grad
