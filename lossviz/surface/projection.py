"""Where a network lies as seen from a line or plane."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from lossviz.engine.point import Vector, dot
from lossviz.engine.streamed import all_parts
from lossviz.surface.subspace import Subspace


@torch.no_grad()
def project(
    subspace: Subspace, theta: Vector, directions: Mapping[str, Vector], state: Mapping[str, Tensor] | None
) -> tuple[dict[str, float], float]:
    """Orthogonal projection of a network onto theta + x * d_x + y * d_y, and its distance from there.

    (x, y) minimises |theta_c - theta - x * d_x - y * d_y|_2 over the trainable parameters, moved or not;
    running statistics do not count. Directions need not be orthogonal; of those that are parallel or zero the
    smallest solution is taken. In float64, with one parameter's tensor at a time.

    Args:
        subspace: of the network.
        theta: the origin, a vector of the subspace.
        directions: by axis, `x` and perhaps `y`.
        state: theta_c, by name; None for theta itself.

    Returns:
        The position by axis, in units of the directions, and the distance; NaN of a network or directions that are
        not finite.
    """
    vectors = [subspace.parameters(vector) for vector in directions.values()]
    gram = np.array([[float(dot(first, second)) for second in vectors] for first in vectors])
    if not (np.isfinite(gram).all() and _finite(theta)):
        return dict.fromkeys(directions, float("nan")), float("nan")
    if state is None:
        return dict.fromkeys(directions, 0.0), 0.0
    # In units of the directions' own lengths, so that a long one beside a short one costs no digits.
    scale = np.array([square**-0.5 if square > 0 else 0.0 for square in np.diag(gram)])
    along = torch.zeros(len(vectors), dtype=torch.float64, device=theta[0].device)
    for away, *parts in zip(_away(subspace, theta, state), *vectors, strict=True):
        along += torch.stack([(away * part).sum() for part in parts])
    position = scale * np.linalg.lstsq(gram * np.outer(scale, scale), scale * along.cpu().numpy(), rcond=1e-12)[0]
    squares = torch.zeros_like(along[0])
    for away, *parts in zip(_away(subspace, theta, state), *vectors, strict=True):
        for step, part in zip(position.tolist(), parts, strict=True):
            away.sub_(part, alpha=step)
        squares += away.square().sum()
    return dict(zip(directions, position.tolist(), strict=True)), float(squares) ** 0.5


def _away(subspace: Subspace, theta: Vector, state: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """theta_c - theta, a parameter at a time, float64."""
    for each, here in zip(subspace.tensors, theta, strict=True):
        if each.kind != "statistic":
            yield state[each.name].to(here).double() - here.double()


def _finite(vector: Vector) -> bool:
    return all(bool(part.isfinite().all()) for part in all_parts(vector))
