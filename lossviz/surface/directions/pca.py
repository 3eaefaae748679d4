"""The plane in which the checkpoints of a training spread most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import torch
from torch import Tensor

from lossviz.config.directions import Pca
from lossviz.errors import refuse
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions.sources import DirectionSet, Sources, around
from lossviz.surface.subspace import Subspace

# Of float64 checkpoints that are in memory at a time.
BLOCK_BYTES = 2**29


def pca_directions(wanted: Pca, subspace: Subspace, sources: Sources) -> DirectionSet:
    """`kind: pca`: the principal directions of the checkpoints of the run, or of those that are named."""
    if wanted.checkpoints == "all":
        path = sources.path()
    else:
        path = [sources.find(each) for each in wanted.checkpoints]
        _refuse_twice(path)
    others = [each for each in path if not each.same_file(sources.own)]
    found = principal_directions(subspace, others, len(sources.axes))
    return DirectionSet(
        dict(zip(sources.axes, found.directions, strict=True)),
        subspace,
        {axis: around([0, *found.positions[:, i].tolist()], margin=0.2) for i, axis in enumerate(sources.axes)},
        {f"{axis}_explained_variance": share for axis, share in zip(sources.axes, found.explained, strict=True)},
        waypoints=path,
        is_path=True,
    )


@dataclass(frozen=True)
class Principal:
    """Principal directions of some checkpoints.

    Attributes:
        directions: unit vectors.
        explained: share of the variance along each.
        positions: of the checkpoints along the directions, (checkpoints, directions); theta is at 0.
    """

    directions: list[list[Tensor]]
    explained: list[float]
    positions: np.ndarray


def principal_directions(subspace: Subspace, checkpoints: Sequence[Checkpoint], count: int) -> Principal:
    """The first principal components of the rows theta_c - theta, centred on their mean, over the parameters.

    Through the n x n matrix of inner products, in float64: an eigenvector v of it, centred, with eigenvalue s
    gives the direction sum of w_c (theta_c - theta), w = v / sqrt(s), and running statistics the same
    combination. Checkpoints are read in blocks of at most half a gigabyte, each block beside all others one at a time,
    so memory does not grow with n. The checkpoint that is farthest along a direction has a positive position on it.

    Args:
        subspace: the network, at theta, and what of it counts.
        checkpoints: n of them, theta itself not among them.
        count: how many directions, 1 or 2.

    Raises:
        RequestError: the checkpoints are too few, not finite, or do not spread in so many directions.

    Source:
        Li et al. 2018, section 7.
    """
    _refuse_few(len(checkpoints), count)
    used = [i for i, each in enumerate(subspace.tensors) if each.name in subspace.moved and each.kind != "statistic"]

    def row(i: int) -> Tensor:
        parts = subspace.difference(checkpoints[i].load(subspace.model), torch.float64)
        flat = torch.cat([parts[j].flatten() for j in used])
        if not flat.isfinite().all():
            problem = f"{checkpoints[i].name} has weights that are not finite"
            advice = "name the checkpoints that count: surface.directions.checkpoints"
            refuse("surface.directions", problem, advice=advice)
        return flat

    size = sum(subspace.tensors[i].tensor.numel() for i in used)
    products = gram(row, len(checkpoints), max(1, BLOCK_BYTES // (8 * size)))
    weights, explained = _components(products, count)
    directions, moves = [subspace.zeros(torch.float64) for _ in range(count)], subspace.movable
    for checkpoint, shares in zip(checkpoints, weights, strict=True):
        apart = subspace.difference(checkpoint.load(subspace.model), torch.float64)
        for direction, share in zip(directions, shares.tolist(), strict=True):
            torch._foreach_add_([*compress(direction, moves)], [*compress(apart, moves)], alpha=share)
    return Principal([subspace.like(each) for each in directions], explained, products @ weights)


def gram(row: Callable[[int], Tensor], count: int, at_once: int) -> np.ndarray:
    """Inner products of all rows, float64 (count, count).

    Args:
        row: makes row i, float64 (size,); asked for about count^2 / (2 at_once) times.
        count: how many rows.
        at_once: how many of them are in memory, besides one more.
    """
    products = np.empty((count, count))
    for start in range(0, count, at_once):
        stop = min(start + at_once, count)
        block = [row(i) for i in range(start, stop)]
        for j in range(start, count):
            other = block[j - start] if j < stop else row(j)
            products[start:stop, j] = products[j, start:stop] = torch.stack([one @ other for one in block]).cpu()
    return products


def _components(products: np.ndarray, count: int) -> tuple[np.ndarray, list[float]]:
    """Weights of the checkpoints in each direction (n, count), and the directions' shares of the variance."""
    centre = np.eye(len(products)) - 1 / len(products)
    values, vectors = np.linalg.eigh(centre @ products @ centre)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    # Rounding of float32 weights squared, and of the products themselves.
    if not values[-1] > 1e-12 * np.trace(products):
        problem = "the checkpoints are all the same or lie on one line, in what the directions move"
        refuse("surface.directions", problem, advice="take other checkpoints, or scan a line (without y)")
    weights = centre @ vectors / np.sqrt(values)
    positions = products @ weights
    farthest = positions[np.abs(positions).argmax(axis=0), range(count)]
    return weights * np.sign(farthest), (values / np.trace(centre @ products @ centre)).tolist()


def _refuse_few(there: int, count: int) -> None:
    # Centred rows: n of them span n - 1 dimensions.
    if there < count + 1:
        refuse(
            "surface.directions",
            f"pca of a {'plane' if count == 2 else 'line'} needs {count + 1} checkpoints or more beside the scan's "
            f"own, and there {'is' if there == 1 else 'are'} {there}",
            advice="name others in surface.directions.checkpoints, or train again (--fresh) with a lower "
            "train.checkpoint_every",
        )


def _refuse_twice(checkpoints: Sequence[Checkpoint]) -> None:
    for i, each in enumerate(checkpoints):
        for other in checkpoints[:i]:
            if each.same_file(other):
                problem = f"{other.name} and {each.name} are one file"
                refuse("surface.directions.checkpoints", problem, advice="name each only once")
