"""The minibatch of a step from images in files: decoded ahead, and still a pure function of (seed, step)."""

import sys
from functools import partial

import torch
from PIL import Image

from lossviz.data.ahead import Ahead
from lossviz.data.crops import DRAWS, centre_crop, colour_noise, he_crop, random_resized_crop
from lossviz.data.minibatches import WHOLE, InOrder, Minibatch, Order, Part
from lossviz.data.streamed import Crops, StreamedSplit
from lossviz.seeding import generator


class StreamedMinibatches(InOrder[StreamedSplit]):
    """Training minibatches by step, in any order; the steps after the one asked for are decoded in the meantime.

    Damaged files are replaced after `indices`.
    """

    def __init__(self, split: StreamedSplit, batch_size: int, seed: int, augment: str = "none") -> None:
        super().__init__(split, batch_size, seed, augment)
        self._ahead: dict[Part, Ahead[Crops]] = {}

    def __call__(self, step: int, part: Part = WHOLE) -> Minibatch:
        """The minibatch of a step, or a rank's part of it.

        Raises:
            WorkError: a file is damaged or cannot be read.
        """
        if part not in self._ahead:
            start = partial(_start, self.split, self.order, self.augment, part)
            self._ahead[part] = Ahead(start, self.split.ahead, sys.maxsize)
        images, targets = self._ahead[part](step).wait()
        shift = None
        if self.augment == "he":
            draws = generator(self.order.seed, "colour", step)
            normals = torch.randn(self.batch_size, 3, dtype=torch.float64, generator=draws)
            shift = colour_noise(normals[self.order.rows(part)])
        return Minibatch((self.split.normalise(images, shift), targets), self.order.noise(step, part))


def _start(split: StreamedSplit, order: Order, augment: str, part: Part, step: int) -> Crops:
    rows, side = order.rows(part), split.config.image_size
    # Drawn for the whole minibatch: a row has the same numbers on whichever rank.
    numbers = torch.rand(order.batch_size, DRAWS, dtype=torch.float64, generator=generator(order.seed, "augment", step))
    draws = numbers[rows].tolist()

    def cut(image: Image.Image, row: int) -> list[Image.Image]:
        if augment == "he":
            return [he_crop(image, side, draws[row])]
        if augment == "random-resized-crop":
            return [random_resized_crop(image, side, draws[row])]
        return [centre_crop(image, side)]

    return split.decode(order.indices(step)[rows].tolist(), cut, replace_damaged=True)
