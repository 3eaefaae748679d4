"""The minibatch of a step: a pure function of (seed, step)."""

from collections.abc import Sized
from functools import lru_cache
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from lossviz.data.batch import Batch
from lossviz.data.split import Split, arranged
from lossviz.seeding import derive, generator

PAD = 4
AnySplit = TypeVar("AnySplit", bound=Sized)


class Minibatch(NamedTuple):
    """The data and the randomness of one step.

    Attributes:
        batch: its examples; for losses of outputs (inputs, targets).
        noise: seeds the network's own random numbers (dropout, noise layers), so that every pass over this
            minibatch sees the same realisation; None for a network that draws none.
    """

    batch: Batch
    noise: int | None

    @property
    def inputs(self) -> Tensor:
        """The first of the pair (inputs, targets)."""
        inputs: Tensor = self.batch[0]
        return inputs

    @property
    def targets(self) -> Tensor:
        """The second of the pair (inputs, targets)."""
        targets: Tensor = self.batch[1]
        return targets


Part = tuple[int, int]
"""A rank and the number of ranks."""
WHOLE: Part = (0, 1)


class ByStep(Protocol):
    """Training minibatches by step, whole or a rank's part of each."""

    batch_size: int

    def __call__(self, step: int, part: Part = WHOLE, /) -> Minibatch:
        """The minibatch of a step."""


class Order:
    """The examples of each step, independent of which steps were drawn before, where and how often.

    The examples are a stream of epochs, each a fresh permutation of the split; step t takes the positions
    t * batch_size to (t + 1) * batch_size - 1, so a minibatch may span two epochs and none is ragged.

    Example:
        >>> order = Order(examples=5, batch_size=3, seed=0)
        >>> three_epochs = torch.cat([order.indices(step) for step in range(5)])
        >>> torch.bincount(three_epochs)
        tensor([3, 3, 3, 3, 3])
    """

    def __init__(self, examples: int, batch_size: int, seed: int) -> None:
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        # Two epochs: a minibatch may span a boundary.
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def indices(self, step: int) -> Tensor:
        """Indices of the examples of a step, int64 (batch_size,)."""
        position, needed, pieces = step * self.batch_size, self.batch_size, []
        while needed:
            epoch, start = divmod(position, self.examples)
            piece = self._epoch(epoch)[start : start + needed]
            pieces.append(piece)
            position += len(piece)
            needed -= len(piece)
        return torch.cat(pieces)

    def rows(self, part: Part) -> slice:
        """The rows of a minibatch that a rank computes: contiguous, and together all of them once.

        Example:
            >>> [Order(examples=5, batch_size=4, seed=0).rows((rank, 3)) for rank in range(3)]
            [slice(0, 1, None), slice(1, 2, None), slice(2, 4, None)]
        """
        rank, world = part
        return slice(rank * self.batch_size // world, (rank + 1) * self.batch_size // world)

    def noise(self, step: int, part: Part) -> int:
        """The seed of the network's own random numbers: ranks must not repeat one another's."""
        rank, _ = part
        return derive(self.seed, "noise", step, rank) if rank else derive(self.seed, "noise", step)

    def _draw_epoch(self, epoch: int) -> Tensor:
        return torch.randperm(self.examples, generator=generator(self.seed, "order", epoch))


class InOrder(Generic[AnySplit]):
    """What training minibatches of every kind of split are made of; the order is `Order`'s.

    Args:
        split: the examples.
        batch_size: of each step.
        seed: of the experiment.
        augment: how images are changed at random.
    """

    def __init__(self, split: AnySplit, batch_size: int, seed: int, augment: str = "none") -> None:
        self.split = split
        self.batch_size = batch_size
        self.augment = augment
        self.order = Order(len(split), batch_size, seed)

    def indices(self, step: int) -> Tensor:
        """Indices of the examples of a step, int64 (batch_size,)."""
        return self.order.indices(step)


class Minibatches(InOrder[Split]):
    """Training minibatches by step, from examples in memory."""

    def __call__(self, step: int, part: Part = WHOLE) -> Minibatch:
        """The minibatch of a step, or a rank's part of it."""
        rows = self.order.rows(part)
        # Not waiting: a copy from the CPU would otherwise wait for all that the GPU has still to compute.
        indices = self.indices(step)[rows].to(self.split.targets.device, non_blocking=True)
        examples = self.split.inputs[indices]
        if self.augment == "crop-flip":
            crops = draw_crops(self.batch_size, generator(self.order.seed, "augment", step))
            examples = crop_flip(examples, crops[:, rows])
        inputs = arranged(self.split.normalise(examples))
        return Minibatch((inputs, self.split.targets[indices]), self.order.noise(step, part))


def draw_crops(count: int, draws: torch.Generator) -> Tensor:
    """For each of `count` images: top and left from 0 to 8, and whether it is mirrored; int64 (3, count, 1).

    Drawn on the CPU, and so the same on every device.
    """
    corners = torch.randint(0, 2 * PAD + 1, (2, count, 1), generator=draws)
    return torch.cat([corners, torch.randint(0, 2, (1, count, 1), generator=draws)])


def crop_flip(images: Tensor, crops: Tensor) -> Tensor:
    """Pad by 4 black pixels, crop back at random, mirror half of the images (He et al. 2015, section 4.2).

    Args:
        images: (N, C, H, W) on any device.
        crops: of `draw_crops`, (3, N, 1).
    """
    count, _, height, width = images.shape
    top, left, mirrored = crops.to(images.device, non_blocking=True)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    columns = torch.where(mirrored.bool(), columns.flip(1), columns)
    padded = functional.pad(images, (PAD, PAD, PAD, PAD))
    example = torch.arange(count, device=images.device)
    cropped = padded[example[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)
