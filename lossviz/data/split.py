"""Examples that live on the device, images as bytes, and are normalised there, batch by batch."""

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
        inputs: images, uint8 (N, C, H, W), 0 to 255, in channels_last memory; or vectors, float64 (N, F).
        targets: classes, int64 (N,); or vectors, float64 (N, G).
        mean: (C, 1, 1), on the scale 0 to 1; its dtype is the one that networks get.
        std: (C, 1, 1), likewise.
    """

    inputs: Tensor
    targets: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def normalise(self, inputs: Tensor) -> Tensor:
        """Images: ((x / 255) - mean) / std, bitwise torchvision's ToTensor and Normalize; vectors as they are."""
        numbers = inputs.to(self.mean.dtype)
        return numbers.div_(255).sub_(self.mean).div_(self.std) if inputs.dtype == torch.uint8 else numbers

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole split in order, normalised; the last batch may be smaller."""
        for inputs, targets in zip(torch.split(self.inputs, size), torch.split(self.targets, size), strict=True):
            yield self.normalise(inputs), targets

    def take(self, indices: Tensor) -> "Split":
        """The examples at some indices, as a split of their own."""
        return replace(self, inputs=arranged(self.inputs[indices]), targets=self.targets[indices])

    def to(self, device: torch.device, dtype: torch.dtype) -> "Split":
        """The same split on a device, with inputs in a dtype."""
        targets = self.targets.to(device, dtype if self.targets.is_floating_point() else None)
        return Split(self.inputs.to(device), targets, self.mean.to(device, dtype), self.std.to(device, dtype))

    def fingerprint(self) -> str:
        """SHA-256 over every input, every target and the normalisation, whatever the layout in memory."""
        digest = hashlib.sha256(repr(tuple(self.inputs.shape)).encode())
        for tensor in (self.inputs, self.targets, self.mean.double(), self.std.double()):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return f"sha256:{digest.hexdigest()}"

    def choose(self, examples: int | str, how: str, seed: int, key: str = "examples") -> "Split":
        """A subset: `all`, the first n, or n with the same share of every class (drawn with the seed).

        Vectors have no classes; of them it is always the first n.

        Raises:
            RequestError: more examples are asked for than there are.
        """
        if examples == "all":
            return self
        count = int(examples)
        if count > len(self):
            raise RequestError(f"{key} = {count}: there are {len(self):,} examples\n  accepted: all or at most that")
        if how == "first" or self.targets.is_floating_point():
            return self.take(torch.arange(count, device=self.targets.device))
        return self.take(stratified(self.targets.cpu(), count, seed).to(self.targets.device))


def arranged(inputs: Tensor) -> Tensor:
    """Images in channels_last memory; vectors as they are."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


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
