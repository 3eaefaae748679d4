"""The minibatch of a step: a pure function of (seed, step)."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lossviz.data.split import Split, arranged
from lossviz.seeding import derive, generator

PAD = 4


class Minibatch(NamedTuple):
    """The data and the randomness of one step.

    Attributes:
        inputs: (B, C, H, W), normalised.
        targets: (B,).
        noise: seeds the network's own random numbers (dropout, noise layers), so that every pass over this
            minibatch sees the same realisation.
    """

    inputs: Tensor
    targets: Tensor
    noise: int


class Minibatches:
    """Training minibatches by step, whatever was drawn before, wherever and however often.

    The examples are a stream of epochs, each a fresh permutation of the split; step t takes the positions
    t * batch_size to (t + 1) * batch_size - 1, so a minibatch may span two epochs and none is ragged.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, augment: str = "none") -> None:
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        # Two epochs: a minibatch may span a boundary.
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def indices(self, step: int) -> Tensor:
        """Indices of the examples of a step, int64 (batch_size,)."""
        size, position, needed, pieces = len(self.split), step * self.batch_size, self.batch_size, []
        while needed:
            epoch, start = divmod(position, size)
            piece = self._order(epoch)[start : start + needed]
            pieces.append(piece)
            position += len(piece)
            needed -= len(piece)
        return torch.cat(pieces)

    def __call__(self, step: int) -> Minibatch:
        """The minibatch of a step."""
        indices = self.indices(step).to(self.split.targets.device)
        examples = self.split.inputs[indices]
        if self.augment == "crop-flip":
            examples = crop_flip(examples, generator(self.seed, "augment", step))
        inputs = arranged(self.split.normalise(examples))
        return Minibatch(inputs, self.split.targets[indices], derive(self.seed, "noise", step))

    def _draw_order(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.split), generator=generator(self.seed, "order", epoch))


def crop_flip(images: Tensor, draws: torch.Generator) -> Tensor:
    """Pad by 4 black pixels, crop back at random, mirror half of the images (He et al. 2015, section 4.2).

    Args:
        images: (N, C, H, W) on any device.
        draws: a CPU generator; only 3 numbers an image are drawn, and they are the same on every device.
    """
    count, _, height, width = images.shape
    top, left = torch.randint(0, 2 * PAD + 1, (2, count, 1), generator=draws).to(images.device)
    mirrored = torch.randint(0, 2, (count, 1), generator=draws).bool().to(images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    padded = functional.pad(images, (PAD, PAD, PAD, PAD))
    example = torch.arange(count, device=images.device)
    cropped = padded[example[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)
