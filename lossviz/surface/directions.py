"""Random directions, the norms they are given, and the names directions have on disk."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor

from lossviz.config.directions import Normalize
from lossviz.engine.point import Vector
from lossviz.seeding import generator
from lossviz.surface.moving import Coordinate


def random_direction(
    coordinates: Sequence[Coordinate], moved: AbstractSet[str], normalize: Normalize, seed: int, axis: str
) -> list[Tensor]:
    """A Gaussian direction, one tensor a coordinate, normalised to the network's present weights.

    Each tensor's draw depends on (seed, axis, name) alone, so networks that share a layer share its part of
    the direction. What is not moved, and running statistics, stay zero. The directions of two axes are
    independent, not orthogonalised.

    Source:
        Li et al. 2018, section 4.
    """
    direction = []
    for each in coordinates:
        if each.name not in moved or each.kind == "statistic":
            direction.append(torch.zeros_like(each.tensor))
            continue
        draws = generator(seed, "direction", axis, each.name)
        gaussian = torch.randn(each.tensor.shape, generator=draws, dtype=torch.float64)
        direction.append(each.like(normalise(gaussian, each.tensor.detach().cpu(), normalize, each.transposed)))
    return direction


def normalise(direction: Tensor, weights: Tensor, by: Normalize, transposed: int = 0) -> Tensor:
    """Rescale one tensor of a direction to the weights it will be added to.

    filter: d_i * |w_i| / (|d_i| + 1e-10) for every filter i, the weights of one output: an index of dimension 0 (an
    output channel, a row of a matrix), or, in a transposed convolution, of dimension 1 within a group; a tensor of one
    dimension is one filter. layer: the same for the tensor as a whole. weight: d * w, entry by entry. none: unchanged.

    Args:
        direction: a tensor.
        weights: a tensor of the same shape.
        by: filter, layer, weight or none.
        transposed: the number of groups where they are the weights of a transposed convolution, else 0.

    Source:
        Li et al. 2018, section 4 (filter); their code for layer and weight. It takes the input channels of a transposed
        convolution for its filters.
    """
    if by == "none":
        return direction
    if by == "weight":
        return direction * weights
    grouped = by == "filter" and transposed > 0
    if grouped:  # (in, out / groups, ...) as (groups, in / groups, out / groups, ...)
        direction, weights = (each.unflatten(0, (transposed, -1)) for each in (direction, weights))
    together = _without_filters(direction.dim(), grouped) if by == "filter" else None
    weights_norm: Tensor = torch.linalg.vector_norm(weights.double(), dim=together, keepdim=True)
    direction_norm: Tensor = torch.linalg.vector_norm(direction.double(), dim=together, keepdim=True)
    rescaled = direction * (weights_norm / (direction_norm + 1e-10))
    return rescaled.flatten(0, 1) if grouped else rescaled


def _without_filters(dimensions: int, grouped: bool) -> tuple[int, ...] | None:
    """The dimensions over which the norm of a filter is taken; None is all of them."""
    if dimensions <= 1:
        return None
    filters = (0, 2) if grouped else (0,)
    return tuple(dimension for dimension in range(dimensions) if dimension not in filters)


def named(coordinates: Sequence[Coordinate], directions: Mapping[str, Vector]) -> dict[str, Tensor]:
    """Directions by axis under the names they have on disk: x/<name>, y/<name>."""
    return {
        f"{axis}/{each.name}": part
        for axis, vector in directions.items()
        for each, part in zip(coordinates, vector, strict=True)
    }


def unnamed(coordinates: Sequence[Coordinate], tensors: Mapping[str, Tensor], axis: str) -> list[Tensor]:
    """The direction of one axis back from `named`: one tensor a coordinate, on its device and in its dtype."""
    return [each.like(tensors[f"{axis}/{each.name}"]) for each in coordinates]
