"""Directions of the loss itself: its gradient, and eigenvectors of its Hessian."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import eigenpairs, mean_gradient
from lossviz.engine.objective import Objective
from lossviz.engine.point import undisturbed
from lossviz.surface.moving import Coordinate


def descent(
    objective: Objective,
    coordinates: Sequence[Coordinate],
    moved: AbstractSet[str],
    batches: Iterable[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    """-grad L, one tensor a coordinate, zero for what is not moved; never rescaled, so its steps are step lengths.

    Args:
        objective: at the point of the gradient; taken in eval mode.
        coordinates: of its network.
        moved: names of those that count.
        batches: inputs and targets of the examples over which L is the mean, each counted once.
    """
    with _evaluating(objective):
        gradient = mean_gradient(objective, _minibatches(batches), _tensors(coordinates, moved))
    torch._foreach_neg_(gradient)
    return _spread(coordinates, moved, gradient)


def eigenvectors(
    objective: Objective,
    coordinates: Sequence[Coordinate],
    moved: AbstractSet[str],
    batches: Iterable[tuple[Tensor, Tensor]],
    ranks: Sequence[int],
) -> tuple[list[float], list[list[Tensor]]]:
    """Eigenvalues and unit eigenvectors of the Hessian of L over what is moved; vectors have one tensor a coordinate.

    Args:
        objective: at the point of the Hessian; taken in eval mode.
        coordinates: of its network.
        moved: names of those that count.
        batches: inputs and targets of the examples over which L is the mean.
        ranks: 1 is the largest eigenvalue, 2 the next; -1 the smallest.

    Raises:
        WorkError: an eigenvalue has not converged, or the network has no second derivatives.
    """
    with _evaluating(objective):
        pairs = eigenpairs(objective, list(_minibatches(batches)), ranks, _tensors(coordinates, moved))
    return [value for value, _ in pairs], [_spread(coordinates, moved, vector) for _, vector in pairs]


@contextmanager
def _evaluating(objective: Objective) -> Iterator[None]:
    with undisturbed(objective.model):
        objective.model.eval()
        yield


def _minibatches(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Minibatch]:
    return (Minibatch(inputs, targets, noise=0) for inputs, targets in batches)


def _tensors(coordinates: Sequence[Coordinate], moved: AbstractSet[str]) -> list[Tensor]:
    return [each.tensor for each in coordinates if _counts(each, moved)]


def _counts(coordinate: Coordinate, moved: AbstractSet[str]) -> bool:
    return coordinate.name in moved and coordinate.kind != "statistic"


def _spread(coordinates: Sequence[Coordinate], moved: AbstractSet[str], parts: Sequence[Tensor]) -> list[Tensor]:
    """Parts for those that are moved, zeros for the others."""
    left = iter(parts)
    return [each.like(next(left)) if _counts(each, moved) else torch.zeros_like(each.tensor) for each in coordinates]
