"""The largest eigenvalues of the Hessian of the loss."""

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
    vector; keeps one vector of the size of the network a step, mostly 10 to 20 of them. Gradient descent with step eta
    is stable on a quadratic while the largest eigenvalue is below 2 / eta.

    Args:
        objective: in the mode in which the loss is meant.
        batches: their examples together are the set over which L is the mean.
        count: how many eigenvalues.

    Returns:
        float64 (count,), descending; NaN where the gradient is not finite, where an eigenvalue has not
        converged after 100 products, and beyond the number of parameters.

    Raises:
        WorkError: the network has no second derivatives.
    """
    sizes = [parameter.numel() for parameter in objective.parameters]
    dtype = objective.parameters[0].dtype

    def product(vector: Tensor) -> Tensor:
        pieces = torch.split(vector, sizes)
        parts = [piece.view(parameter.shape) for piece, parameter in zip(pieces, objective.parameters, strict=True)]
        return hessian_vector_product(objective, batches, parts).to(dtype)

    start = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return lanczos(product, start.to(objective.device, dtype), count)


def lanczos(product: Callable[[Tensor], Tensor], start: Tensor, count: int) -> Tensor:
    """The largest eigenvalues (algebraically) of a symmetric operator, float64 (count,), descending.

    Args:
        product: from a vector (n,) to the operator applied to it.
        start: a vector (n,), not orthogonal to the eigenvectors wanted.
        count: how many; NaN where one has not converged, or n is smaller.
    """
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    found = torch.full((count,), float("nan"), dtype=torch.float64)
    while True:
        image = product(basis[-1])
        diagonal.append(float(image.double() @ basis[-1].double()))
        image = _orthogonal(image, basis)
        length = float(image.double().norm())
        if not torch.isfinite(torch.tensor([diagonal[-1], length])).all():
            return found
        values, vectors = eigh_tridiagonal(diagonal, beside)
        scale = max(abs(values[0]), abs(values[-1]))
        residuals = torch.from_numpy(length * abs(vectors[-1])[::-1])[:count]
        if len(basis) == len(start):
            residuals = residuals * 0
        good = residuals <= TOLERANCE * scale
        if (len(good) == count and good.all()) or len(basis) in (len(start), MOST_STEPS):
            break
        if length <= 1e-6 * scale:  # the space is exhausted: go on in one that it has not seen
            image, length = _orthogonal(torch.roll(start, len(basis)), basis), 0.0
        beside.append(length)
        basis.append(image / image.norm())
    found[: len(good)][good] = torch.from_numpy(values[::-1][:count].copy())[good]
    return found


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
        value.backward()  # type: ignore[no-untyped-call]
        return [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    except RuntimeError as error:
        raise WorkError(f"sharpness: this network has no second derivatives: {error}") from error
    finally:
        for parameter, grad in zip(parameters, kept, strict=True):
            parameter.grad = grad
