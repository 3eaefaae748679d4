"""The plane in which the checkpoints of a training spread most."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lossviz.errors import RequestError
from lossviz.surface.checkpoints import Checkpoint, difference
from lossviz.surface.moving import Coordinate

# Of float64 checkpoints that are in memory at a time.
BLOCK_BYTES = 2**29


@dataclass(frozen=True)
class Principal:
    """Principal directions of some checkpoints.

    Attributes:
        directions: unit vectors, one tensor a coordinate.
        explained: share of the variance along each.
        places: of the checkpoints along the directions, (checkpoints, directions); theta is at 0.
    """

    directions: list[list[Tensor]]
    explained: list[float]
    places: np.ndarray


def principal(
    model: nn.Module,
    coordinates: Sequence[Coordinate],
    moved: AbstractSet[str],
    checkpoints: Sequence[Checkpoint],
    count: int,
) -> Principal:
    """The first principal components of the rows theta_c - theta, centred on their mean, over the parameters.

    Through the n x n matrix of inner products, in float64: an eigenvector v of it, centred, with eigenvalue s
    gives the direction sum of w_c (theta_c - theta), w = v / sqrt(s), and running statistics the same
    combination. Checkpoints are read in blocks of at most half a gigabyte, each block beside all others one at a time,
    so memory does not grow with n. The checkpoint that is farthest along a direction has a positive place on it.

    Args:
        model: the network, at theta.
        coordinates: of it.
        moved: names of those that count.
        checkpoints: n of them, theta itself not among them.
        count: how many directions, 1 or 2.

    Raises:
        RequestError: the checkpoints are too few, not finite, or do not spread in so many directions.

    Source:
        Li et al. 2018, section 7.
    """
    _refuse_few(len(checkpoints), count)
    used = [i for i, each in enumerate(coordinates) if each.name in moved and each.kind != "statistic"]

    def row(i: int) -> Tensor:
        parts = difference(model, coordinates, moved, checkpoints[i], torch.float64)
        flat = torch.cat([parts[j].flatten() for j in used])
        if not flat.isfinite().all():
            raise RequestError(
                f"surface.directions: {checkpoints[i].name} has weights that are not finite\n"
                "  name the checkpoints that count: surface.directions.checkpoints"
            )
        return flat

    size = sum(coordinates[i].tensor.numel() for i in used)
    products = gram(row, len(checkpoints), max(1, BLOCK_BYTES // (8 * size)))
    weights, explained = _components(products, count)
    directions = [[torch.zeros_like(each.tensor, dtype=torch.float64) for each in coordinates] for _ in range(count)]
    for checkpoint, shares in zip(checkpoints, weights, strict=True):
        apart = difference(model, coordinates, moved, checkpoint, torch.float64)
        for direction, share in zip(directions, shares.tolist(), strict=True):
            torch._foreach_add_(direction, apart, alpha=share)
    rounded = [[each.like(part) for each, part in zip(coordinates, parts, strict=True)] for parts in directions]
    return Principal(rounded, explained, products @ weights)


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
        raise RequestError(
            "surface.directions: the checkpoints are all the same or lie on one line, in what the directions move\n"
            "  take other checkpoints, or scan a line (without y)"
        )
    weights = centre @ vectors / np.sqrt(values)
    places = products @ weights
    farthest = places[np.abs(places).argmax(axis=0), range(count)]
    return weights * np.sign(farthest), (values / np.trace(centre @ products @ centre)).tolist()


def _refuse_few(there: int, count: int) -> None:
    # Centred rows: n of them span n - 1 dimensions.
    if there < count + 1:
        raise RequestError(
            f"surface.directions: pca of a {'plane' if count == 2 else 'line'} needs {count + 1} checkpoints or more "
            f"beside the scan's own, and there {'is' if there == 1 else 'are'} {there}\n"
            "  name others in surface.directions.checkpoints, or train again (--fresh) with a lower "
            "train.checkpoint_every"
        )
