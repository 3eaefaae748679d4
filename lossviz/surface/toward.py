"""Directions that lead to other networks."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from torch import Tensor, nn

from lossviz.engine.point import Vector, dot, squared_norm
from lossviz.errors import RequestError
from lossviz.surface.checkpoints import Checkpoint, difference
from lossviz.surface.moving import Coordinate, parameters_of

# Beside the rounding of float32 weights: networks on one line span no plane.
PARALLEL = 1e-6


def toward(
    model: nn.Module, coordinates: Sequence[Coordinate], moved: AbstractSet[str], checkpoints: Sequence[Checkpoint]
) -> list[list[Tensor]]:
    """theta_c - theta for each of one or two checkpoints, one tensor a coordinate.

    Raises:
        RequestError: a checkpoint is where the network is, or the three lie on one line.
    """
    found = [difference(model, coordinates, moved, each) for each in checkpoints]
    norms = [float(squared_norm(parameters_of(coordinates, each))) ** 0.5 for each in found]
    for checkpoint, norm in zip(checkpoints, norms, strict=True):
        if norm == 0:
            raise _refusal(f"{checkpoint.name} has the weights of the scan's own checkpoint", "name another")
    if len(found) == 2:
        first, second = (parameters_of(coordinates, each) for each in found)
        if float(squared_norm(_across(first, second))) ** 0.5 <= PARALLEL * norms[1]:
            names = " and ".join(each.name for each in checkpoints)
            raise _refusal(
                f"{names} lie on one line with the scan's own checkpoint", "name another, or scan a line (without y)"
            )
    return found


@torch.no_grad()
def orthonormalised(
    coordinates: Sequence[Coordinate], first: Vector, second: Vector
) -> tuple[list[Tensor], tuple[float, float]]:
    """d2' = (d2 - c d1) |d1| / |d2 - c d1| with c = <d1, d2> / |d1|^2: perpendicular to d1, and as long.

    Inner products are over the parameters; running statistics go with the same combination.

    Returns:
        d2', and the place (x, y) of theta + d2 in the plane of d1 and d2'.
    """
    one, two = parameters_of(coordinates, first), parameters_of(coordinates, second)
    along = float(dot(one, two) / squared_norm(one))
    up = float((squared_norm(_across(one, two)) / squared_norm(one)).sqrt())
    turned = [
        each.like((d2.double() - along * d1.double()) / up)
        for each, d1, d2 in zip(coordinates, first, second, strict=True)
    ]
    return turned, (along, up)


def _across(first: Vector, second: Vector) -> list[Tensor]:
    """The part of the second that is perpendicular to the first, float64."""
    along = float(dot(first, second) / squared_norm(first))
    return [d2.double() - along * d1.double() for d1, d2 in zip(first, second, strict=True)]


def _refusal(problem: str, advice: str) -> RequestError:
    return RequestError(f"surface.directions.checkpoints: {problem} (in what the directions move)\n  {advice}")
