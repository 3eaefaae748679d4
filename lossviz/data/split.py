"""Images that live on the device as bytes and are normalised there, batch by batch."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lossviz.errors import RequestError
from lossviz.seeding import generator


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        images: uint8 (N, C, H, W), 0 to 255, in channels_last memory.
        labels: int64 (N,).
        mean, std: (C, 1, 1), on the scale 0 to 1; their dtype is the dtype of the inputs.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def normalise(self, images: Tensor) -> Tensor:
        """((x / 255) - mean) / std: bitwise torchvision's ToTensor and Normalize, in the dtype of `mean`."""
        return images.to(self.mean.dtype).div_(255).sub_(self.mean).div_(self.std)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole split in order, normalised; the last batch may be smaller."""
        for images, labels in zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True):
            yield self.normalise(images), labels

    def take(self, indices: Tensor) -> "Split":
        """The examples at some indices, as a split of their own."""
        images = self.images[indices].contiguous(memory_format=torch.channels_last)
        return replace(self, images=images, labels=self.labels[indices])

    def to(self, device: torch.device, dtype: torch.dtype) -> "Split":
        """The same split on a device, with inputs in a dtype."""
        return Split(
            self.images.to(device), self.labels.to(device), self.mean.to(device, dtype), self.std.to(device, dtype)
        )

    def fingerprint(self) -> str:
        """SHA-256 over every pixel, every label and the normalisation."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for tensor in (self.images.permute(0, 2, 3, 1), self.labels, self.mean.double(), self.std.double()):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return f"sha256:{digest.hexdigest()}"

    def choose(self, examples: int | str, how: str, seed: int) -> "Split":
        """A subset: `all`, the first n, or n with the same share of every class (drawn with the seed).

        Raises:
            RequestError: more examples are asked for than there are.
        """
        if examples == "all":
            return self
        count = int(examples)
        if count > len(self):
            raise RequestError(
                f"examples = {count}: the split has {len(self):,} examples\n  accepted: all or at most that"
            )
        if how == "first":
            return self.take(torch.arange(count, device=self.labels.device))
        return self.take(stratified(self.labels.cpu(), count, seed).to(self.labels.device))


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` examples, ascending, each class with its share (largest remainders get the rest)."""
    sizes = torch.bincount(labels)
    quota = sizes.double() * count / len(labels)
    take = quota.floor().long()
    # A stable sort, so that classes with equal remainders are served in the order of their numbers.
    rest = torch.sort(quota - take, descending=True, stable=True).indices[: count - int(take.sum())]
    take[rest] += 1
    chosen = []
    for label, number in enumerate(take.tolist()):
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator(seed, "subset", label))
        chosen.append(members[order[:number]])
    return torch.cat(chosen).sort().values
