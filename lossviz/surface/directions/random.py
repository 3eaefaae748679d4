"""Gaussian directions, rescaled to the network's weights."""

import torch
from torch import Tensor

from lossviz.config.directions import Normalize, Random
from lossviz.seeding import generator
from lossviz.surface.directions.normalization import rescale
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.subspace import Subspace


def random_directions(wanted: Random, subspace: Subspace, sources: Sources) -> DirectionSet:
    """`kind: random`."""
    vectors = {axis: random_direction(subspace, wanted.normalize, wanted.seed, axis) for axis in sources.axes}
    return DirectionSet(vectors, subspace)


def random_direction(subspace: Subspace, normalize: Normalize, seed: int, axis: str) -> list[Tensor]:
    """A Gaussian direction, normalised to the network's present weights.

    Each tensor's draw depends on (seed, axis, name) alone, so networks that share a layer share its part of
    the direction. What is not moved, and running statistics, stay zero. The directions of two axes are
    independent, not orthogonalised.

    Source:
        Li et al. 2018, section 4.
    """
    direction = subspace.zeros()
    for each, part in zip(subspace.tensors, direction, strict=True):
        if each.name not in subspace.moved or each.kind == "statistic":
            continue
        draws = generator(seed, "direction", axis, each.name)
        gaussian = torch.randn(each.tensor.shape, generator=draws, dtype=torch.float64)
        part.copy_(rescale(gaussian, each.tensor.detach().cpu(), normalize, each.transposed))
    return direction
