"""Gaussian directions, rescaled to the network's weights."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from lossviz.config.directions import Normalize, Random
from lossviz.engine.streamed import Scratch, Streamed, pieces
from lossviz.seeding import generator
from lossviz.surface.directions.normalization import multiply, scale
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.subspace import Subspace


def random_directions(wanted: Random, subspace: Subspace, sources: Sources) -> DirectionSet:
    """`kind: random`."""
    drawn = {axis: Drawn(subspace, wanted.normalize, wanted.seed, axis) for axis in sources.axes}
    if not wanted.keep:
        digest = " ".join(f"{axis}:{vector.fix()}" for axis, vector in drawn.items())
        return DirectionSet(dict(drawn), subspace, digest=digest)
    return DirectionSet({axis: vector.kept() for axis, vector in drawn.items()}, subspace)


def random_direction(subspace: Subspace, normalize: Normalize, seed: int, axis: str) -> list[Tensor]:
    """A Gaussian direction, normalised to the network's present weights; see `Drawn`."""
    return Drawn(subspace, normalize, seed, axis).kept()


class Drawn(Streamed):
    """A Gaussian direction, normalised to the network's weights, which is drawn at every use.

    Each tensor's draw depends on (seed, axis, name) alone, so networks that share a layer share its part of
    the direction. What is not moved, and running statistics, stay zero. The directions of two axes are
    independent, not orthogonalised.

    It is valid while the network is where it is; after `fix`, which keeps a number a filter, wherever it is.

    Source:
        Li et al. 2018, section 4.
    """

    def __init__(self, subspace: Subspace, normalize: Normalize, seed: int, axis: str) -> None:
        self._subspace, self._normalize, self._seed, self._axis = subspace, normalize, seed, axis
        self._scales: dict[int, list[Tensor]] = {}
        self._normal, self._weights = Scratch(torch.float64), Scratch(torch.float64)
        self._rounded: dict[torch.dtype, Scratch] = {}

    def __len__(self) -> int:
        return len(self._subspace.tensors)

    def like(self, i: int) -> Tensor:
        """A tensor like tensor i."""
        return self._subspace.tensors[i].tensor

    def parts(self, i: int) -> Iterator[Tensor]:
        """The pieces of tensor i."""
        each = self._subspace.tensors[i]
        indices = pieces(each.tensor)
        if not self._moves(i):
            yield from (each.nothing()[rows] for rows in indices)
            return
        rounded = self._rounded.setdefault(each.tensor.dtype, Scratch(each.tensor.dtype))
        for rows, (values, _) in zip(indices, self._drawn(i), strict=True):
            yield rounded.empty_like(each.tensor[rows]).copy_(values).to(each.tensor.device)

    def kept(self) -> list[Tensor]:
        """The direction in memory."""
        whole = self._subspace.zeros()
        for i, tensor in enumerate(whole):
            for rows, part in zip(pieces(tensor), self.parts(i), strict=True) if self._moves(i) else ():
                tensor[rows].copy_(part)
        return whole

    def fix(self) -> str:
        """Keep what depends on the weights as they are now; the SHA-256 of the direction's bytes."""
        digest, scales = hashlib.sha256(), dict[int, list[Tensor]]()
        for i in filter(self._moves, range(len(self))):
            scales[i] = []
            # A tensor of its own left a hole of its size before each factor that is kept: 1 MB a layer of 1 MB.
            rounded = self._rounded.setdefault(self.like(i).dtype, Scratch(self.like(i).dtype))
            for values, by in self._drawn(i):
                scales[i].append(by)
                rounded.empty_like(values).copy_(values)
                digest.update(rounded.bytes(values.numel()))
        self._scales = scales
        return digest.hexdigest()

    def _moves(self, i: int) -> bool:
        each = self._subspace.tensors[i]
        return each.name in self._subspace.moved and each.kind != "statistic"

    def _drawn(self, i: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The pieces of tensor i, float64, with the factors that rescaled them; drawn as a whole if a filter is cut."""
        each = self._subspace.tensors[i]
        draws, indices = generator(self._seed, "direction", self._axis, each.name), pieces(each.tensor)
        cut = self._normalize == "layer" or each.transposed > 0
        for k, rows in enumerate([()] if cut else indices):
            here = each.tensor.detach()[rows]
            gaussian = self._normal.empty_like(torch.empty(here.shape, device="meta")).normal_(generator=draws)
            if i in self._scales:
                by = self._scales[i][k]
            else:
                by = scale(gaussian, self._weights.copy(here.cpu()), self._normalize, each.transposed)
            multiply(gaussian, by)
            yield from ((gaussian[part], by) for part in (indices if cut else [()]))
