"""Directions that lead to other networks."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lossviz.config.directions import Toward
from lossviz.engine.point import Vector, dot, squared_norm
from lossviz.errors import Refusal, RequestError
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions.sources import DirectionSet, Sources, around
from lossviz.surface.subspace import Subspace

# Beside the rounding of float32 weights: networks on one line span no plane.
PARALLEL = 1e-6


def toward_directions(wanted: Toward, subspace: Subspace, sources: Sources) -> DirectionSet:
    """`kind: toward`: theta_c - theta for each of one or two checkpoints, perhaps made perpendicular."""
    checkpoints = [sources.find(each) for each in wanted.checkpoints]
    vectors = differences(subspace, checkpoints)
    third = (0.0, 1.0)
    if wanted.orthonormalize and len(vectors) == 2:
        vectors[1], third = orthonormalize(subspace, *vectors)
    return DirectionSet(
        dict(zip(sources.axes, vectors, strict=True)),
        subspace,
        {"x": around([0, 1, third[0]], margin=0.5), "y": around([0, third[1]], margin=0.5)},
        waypoints=checkpoints,
        ones=True,
    )


def differences(subspace: Subspace, checkpoints: Sequence[Checkpoint]) -> list[list[Tensor]]:
    """theta_c - theta for each of one or two checkpoints.

    Raises:
        RequestError: a checkpoint is where the network is, or the three lie on one line.
    """
    found = [subspace.difference(each.load(subspace.model)) for each in checkpoints]
    norms = [subspace.norm(each) for each in found]
    for checkpoint, norm in zip(checkpoints, norms, strict=True):
        if norm == 0:
            raise _refusal(f"{checkpoint.name} has the weights of the scan's own checkpoint", "name another")
    if len(found) == 2:
        first, second = (subspace.parameters(each) for each in found)
        if float(squared_norm(_across(first, second))) ** 0.5 <= PARALLEL * norms[1]:
            names = " and ".join(each.name for each in checkpoints)
            raise _refusal(
                f"{names} lie on one line with the scan's own checkpoint", "name another, or scan a line (without y)"
            )
    return found


@torch.no_grad()
def orthonormalize(subspace: Subspace, first: Vector, second: Vector) -> tuple[list[Tensor], tuple[float, float]]:
    """d2' = (d2 - c d1) |d1| / |d2 - c d1| with c = <d1, d2> / |d1|^2: perpendicular to d1, and as long.

    Inner products are over the parameters; running statistics go with the same combination.

    Returns:
        d2', and the position (x, y) of theta + d2 in the plane of d1 and d2'.
    """
    one, two = subspace.parameters(first), subspace.parameters(second)
    along = float(dot(one, two) / squared_norm(one))
    up = float((squared_norm(_across(one, two)) / squared_norm(one)).sqrt())
    turned = ((d2.double() - along * d1.double()) / up for d1, d2 in zip(first, second, strict=True))
    return subspace.like(turned), (along, up)


def _across(first: Vector, second: Vector) -> Iterator[Tensor]:
    """The part of the second that is perpendicular to the first, float64, a tensor at a time."""
    along = float(dot(first, second) / squared_norm(first))
    return (d2.double() - along * d1.double() for d1, d2 in zip(first, second, strict=True))


def _refusal(problem: str, advice: str) -> RequestError:
    problem = f"{problem} (in what the directions move)"
    return RequestError(Refusal("surface.directions.checkpoints", problem, advice=advice))
