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
        direction.append(each.like(normalise(gaussian, each.tensor.detach().cpu(), normalize)))
    return direction


def normalise(direction: Tensor, weights: Tensor, by: Normalize) -> Tensor:
    """Rescale one tensor of a direction to the weights it will be added to.

    filter: d_i * |w_i| / (|d_i| + 1e-10) for every index i of dimension 0 (an output channel, or a row of a
    matrix), norms over all other dimensions; a tensor of one dimension is one filter. layer: the same for the
    tensor as a whole. weight: d * w, entry by entry. none: unchanged.

    Args:
        direction: a tensor.
        weights: a tensor of the same shape.
        by: filter, layer, weight or none.

    Source:
        Li et al. 2018, section 4 (filter); their code for layer and weight.
    """
    if by == "none":
        return direction
    if by == "weight":
        return direction * weights
    together = tuple(range(1, direction.dim())) if by == "filter" and direction.dim() > 1 else None
    weights_norm: Tensor = torch.linalg.vector_norm(weights.double(), dim=together, keepdim=True)
    direction_norm: Tensor = torch.linalg.vector_norm(direction.double(), dim=together, keepdim=True)
    return direction * (weights_norm / (direction_norm + 1e-10))


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
