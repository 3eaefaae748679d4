"""The largest eigenvalues of the Hessian of the loss."""

import math
from collections.abc import Callable, Sequence

import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.errors import WorkError

# Residual of an eigenvalue, relative to the largest in size: the noise of a float32 Hessian-vector product.
# (Relative to the eigenvalue itself, as ARPACK asks, a small one beside a large one never converges.)
TOLERANCE = 1e-4
MOST_STEPS = 100


def sharpness(objective: Objective, batches: Sequence[Minibatch], count: int) -> Tensor:
    """The largest eigenvalues of H = grad^2 L, the Hessian of the mean loss over some batches.

    Lanczos with full reorthogonalisation on Hessian-vector products H v = grad <grad L, v>, from a fixed start
    vector; keeps one float64 vector of the size of the network a product, mostly 10 to 20 of them an eigenvalue.
    Gradient descent with step eta is stable on a quadratic while the largest eigenvalue is below 2 / eta.

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
    sizes = [parameter.numel() for parameter in objective.parameters]

    def product(vector: Tensor) -> Tensor:
        parts = [
            piece.view(parameter.shape).to(parameter.dtype)
            for piece, parameter in zip(torch.split(vector, sizes), objective.parameters, strict=True)
        ]
        return hessian_vector_product(objective, batches, parts)

    start = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return lanczos(product, start.to(objective.device), count)


def lanczos(product: Callable[[Tensor], Tensor], start: Tensor, count: int) -> Tensor:
    """The largest eigenvalues (algebraically) of a symmetric operator, float64 (count,), descending.

    One at a time, each in the complement of the eigenvectors before it: so repeated eigenvalues are found as
    often as they are there, which one Krylov space never shows.

    Args:
        product: from a float64 vector (n,) to the operator applied to it.
        start: a random float64 vector (n,).
        count: how many; NaN where one has not converged, or n is smaller.
    """
    values: list[float] = []
    vectors: list[Tensor] = []
    while len(values) < min(count, len(start)):
        value, vector = _largest(product, torch.roll(start, len(values)), vectors)
        values.append(value)
        if vector is None:
            break
        vectors.append(vector)
    return torch.tensor(values + [math.nan] * (count - len(values)), dtype=torch.float64)


def _largest(
    product: Callable[[Tensor], Tensor], start: Tensor, known: Sequence[Tensor]
) -> tuple[float, Tensor | None]:
    """The largest eigenvalue in the complement of known eigenvectors, with its vector where it has converged."""
    start = _orthogonal(start, known)
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        image = _orthogonal(image, [*known, *basis])
        length = float(image.norm())
        if not math.isfinite(diagonal[-1] + length):
            return math.nan, None
        values, vectors = eigh_tridiagonal(diagonal, beside)
        scale = max(abs(values[0]), abs(values[-1]))
        if length * abs(vectors[-1, -1]) <= TOLERANCE * scale or len(basis) + len(known) == len(start):
            weights = torch.from_numpy(vectors[:, -1].copy()).to(start)
            vector = torch.stack(basis, dim=1) @ weights
            return float(values[-1]), vector / vector.norm()
        if len(basis) == MOST_STEPS:
            return math.nan, None
        beside.append(length)
        basis.append(image / length)


def _orthogonal(vector: Tensor, basis: Sequence[Tensor]) -> Tensor:
    for _ in range(2):  # twice is enough (Parlett 1998, section 6.9)
        for each in basis:
            vector = vector - (vector @ each) * each
    return vector


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
        torch.autograd.backward(value)
        return [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    except RuntimeError as error:
        if "differentiat" not in str(error) and "derivative" not in str(error):
            raise  # out of memory, say
        raise WorkError(f"sharpness: this network has no second derivatives: {error}") from error
    finally:
        for parameter, grad in zip(parameters, kept, strict=True):
            parameter.grad = grad
