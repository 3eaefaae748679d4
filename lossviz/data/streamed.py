"""Images that stay in their files and are decoded, crop by crop, on request."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from lossviz.config.data import ImageFolder
from lossviz.data.ahead import BATCHES_AHEAD, Ahead, Filling, automatic_workers
from lossviz.data.crops import centre_crop, ten_crop
from lossviz.data.index import Index
from lossviz.data.pictures import DamagedError, read_picture
from lossviz.data.split import Split, chosen, normalised
from lossviz.errors import Refusal, WorkError
from lossviz.files import shown

# Of bytes of crops; 1,783 of 224x224.
MOST_HELD = 2**28

Cut = Callable[[Image.Image, int], Sequence[Image.Image]]
"""From an image and its row in a batch to one or more crops of it, which are its views."""


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """One split of a folder of images; what `lossviz.data.split.Split` is for images in memory.

    Attributes:
        index: the files.
        config: size of the crops, what a damaged file means, number of threads.
        evaluation: the views of `batches`.
        targets: classes, int64 (N,), on the device that crops go to.
        mean: (3, 1, 1), on the scale 0 to 1; its dtype is the one that networks get.
        std: (3, 1, 1), likewise.
        damaged: the damaged files met so far, with what is wrong; shared with every split taken from this one.
    """

    index: Index
    config: ImageFolder
    evaluation: Literal["centre", "ten-crop"]
    targets: Tensor
    mean: Tensor
    std: Tensor
    damaged: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """Where crops go."""
        return self.targets.device

    @property
    def regression(self) -> bool:
        """Images have classes."""
        return False

    @property
    def outputs(self) -> int:
        """Number of classes."""
        return len(self.index.classes)

    @property
    def channels(self) -> int:
        """Red, green and blue."""
        return 3

    @property
    def image_size(self) -> tuple[int, ...]:
        """Height and width of a crop."""
        return self.config.image_size, self.config.image_size

    @property
    def views(self) -> int:
        """Crops of an image in evaluation."""
        return 10 if self.evaluation == "ten-crop" else 1

    @property
    def workers(self) -> int:
        """Number of threads that decode."""
        return automatic_workers() if self.config.workers == "auto" else self.config.workers

    @property
    def ahead(self) -> int:
        """Number of batches that are decoded ahead of time."""
        return BATCHES_AHEAD if self.workers else 0

    def normalise(self, images: Tensor, shift: Tensor | None = None) -> Tensor:
        """((x / 255) + shift - mean) / std; x are bytes (..., 3, H, W), the shift is (N, 3) or nothing."""
        mean = self.mean if shift is None else self.mean - shift.to(self.mean)[:, :, None, None]
        return normalised(images, mean, self.std)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole split in order, as in evaluation, normalised; the last batch may be smaller.

        Inputs are (B, 3, H, W) with B = size, or for ten-crop (B, 10, 3, H, W) with B = size / 10, so that a forward
        pass costs the same. Damaged files that are skipped are left out, and so is a batch of nothing else: an example
        never counts twice.

        Raises:
            WorkError: a file is damaged and not to be skipped, or cannot be read; or all are damaged.
        """
        count = max(1, size // self.views)
        if self._held is not None:
            yield from self._held.batches(count)
            return
        some = False
        parts = [range(start, min(start + count, len(self))) for start in range(0, len(self), count)]
        ahead = Ahead(lambda number: self.decode(parts[number], self._cut, self.views), self.ahead, len(parts))
        for number in range(len(parts)):
            images, targets = ahead(number).wait()
            if len(targets):
                some = True
                yield self.normalise(images), targets
        if not some:
            raise self._all_damaged()

    def decode(self, indices: Sequence[int], cut: Cut, views: int = 1, *, replace_damaged: bool = False) -> "Crops":
        """Start decoding some images.

        Args:
            indices: of the images.
            cut: from an image and its row to crops of it.
            views: how many crops.
            replace_damaged: whether the next readable image takes the place of a damaged one, or nothing does.
        """
        side = self.config.image_size
        used: list[int | None] = [None] * len(indices)
        images = torch.empty((len(used), views, side, side, 3), dtype=torch.uint8, pin_memory=self.targets.is_cuda)
        pixels = images.numpy()

        damaged: dict[str, str] = {}

        def fill(row: int) -> None:
            opened = self._open(indices[row], len(self) if replace_damaged else 1, damaged)
            if opened is None:
                return
            image, used[row] = opened
            for view, crop in zip(pixels[row], cut(image, row), strict=True):
                view[...] = crop

        return Crops(self, images, used, damaged, Filling(fill, len(used), self.workers))

    def take(self, indices: Tensor) -> "StreamedSplit":
        """The examples at some indices, as a split of their own."""
        places = indices.tolist()
        index = self.index._replace(
            names=tuple(self.index.names[i] for i in places),
            labels=tuple(self.index.labels[i] for i in places),
            sizes=tuple(self.index.sizes[i] for i in places),
        )
        return replace(self, index=index, targets=self.targets[indices])

    def to(self, device: torch.device, dtype: torch.dtype) -> "StreamedSplit":
        """The same split with crops on a device, in a dtype."""
        mean, std = self.mean.to(device, dtype), self.std.to(device, dtype)
        return replace(self, targets=self.targets.to(device), mean=mean, std=std)

    def fingerprint(self) -> str:
        """SHA-256 over the names, sizes and classes of all files and the normalisation; no file is read."""
        digest = hashlib.sha256(repr(self.index.classes).encode())
        for file in zip(self.index.names, self.index.sizes, self.index.labels, strict=True):
            digest.update(repr(file).encode())
        digest.update(repr((self.mean.tolist(), self.std.tolist())).encode())
        return f"sha256:{digest.hexdigest()}"

    def choose(
        self, examples: int | str, how: str, seed: int, key: str = "examples", which: str = "train"
    ) -> "StreamedSplit":
        """A subset: `all`, the first n, or n with the same share of every class (drawn with the seed).

        Raises:
            RequestError: more examples are asked for than there are.
        """
        return self if examples == "all" else self.take(chosen(self.targets, int(examples), how, seed, key, which))

    @cached_property
    def _held(self) -> Split | None:
        """The crops of evaluation, decoded only once where they are few: a scan asks for them at every point."""
        if len(self) * self.views * self.channels * self.config.image_size**2 > MOST_HELD:
            return None
        images, targets = self.decode(range(len(self)), self._cut, self.views).wait()
        if not len(targets):
            raise self._all_damaged()
        return Split(images, targets, self.mean, self.std)

    def _cut(self, image: Image.Image, _: int) -> Sequence[Image.Image]:
        side = self.config.image_size
        return ten_crop(image, side) if self.evaluation == "ten-crop" else [centre_crop(image, side)]

    def _open(self, index: int, tries: int, damaged: dict[str, str]) -> tuple[Image.Image, int] | None:
        """The image at an index, or the next one in order that is not damaged, and its index; after some tries none."""
        for distance in range(tries):
            place = (index + distance) % len(self)
            path = self.index.folder / self.index.names[place]
            try:
                return read_picture(path), place
            except DamagedError as error:
                if self.config.corrupt == "stop":
                    advice = (
                        "replace it; or data.corrupt: skip leaves it out of evaluations, puts the next readable file "
                        "in its place in minibatches, and counts it"
                    )
                    raise WorkError(Refusal(shown(path), f"is damaged: {error}", advice=advice)) from error
                damaged[str(path)] = str(error)
        if tries == len(self):
            raise self._all_damaged()
        return None

    def _all_damaged(self) -> WorkError:
        return WorkError(Refusal(shown(self.index.folder), f"all of {len(self):,} files are damaged"))


@dataclass(frozen=True, eq=False)
class Crops:
    """A batch of crops on its way: bytes that are being filled in.

    Attributes:
        split: where they come from.
        images: uint8 (N, views, H, W, 3), on the host.
        indices: of the images that are in it, once they are; None in a row that stays empty.
        damaged: the damaged files met, and what is wrong with each.
        filling: to wait for.
    """

    split: StreamedSplit
    images: Tensor
    indices: list[int | None]
    damaged: dict[str, str]
    filling: Filling

    def wait(self) -> tuple[Tensor, Tensor]:
        """Bytes (N, 3, H, W), or (N, views, 3, H, W) of several views, and classes (N,), on the split's device.

        Rows that stayed empty are left out.

        Raises:
            WorkError: a file is damaged or cannot be read.
        """
        self.filling.wait()
        # Not before they are asked for: the count must not depend on how far the threads are ahead.
        self.split.damaged.update(self.damaged)
        targets, filled = self.split.targets, torch.tensor([index is not None for index in self.indices])
        used = torch.tensor([index for index in self.indices if index is not None], dtype=torch.int64)
        images = self.images if filled.all() else self.images[filled]
        images = images.to(targets.device, non_blocking=True).permute(0, 1, 4, 2, 3)
        classes = targets[used.to(targets.device)]
        return (images.squeeze(1) if images.shape[1] == 1 else images), classes

    def cancel(self) -> None:
        """Its result is no longer needed."""
        self.filling.cancel()
