"""Examples that live on the device, images as bytes, and are normalised there, batch by batch."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lossviz.errors import refuse
from lossviz.seeding import generator


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        inputs: images, uint8 (N, C, H, W), 0 to 255, in channels_last memory; or other numbers (N, ...).
        targets: classes, int64 (N, ...); or vectors, float64 (N, G).
        mean: (C, 1, 1), on the scale 0 to 1; its dtype is the one that networks get.
        std: (C, 1, 1), likewise.
    """

    inputs: Tensor
    targets: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.targets.device

    @property
    def regression(self) -> bool:
        """Whether targets are real numbers."""
        return self.targets.is_floating_point()

    @property
    def outputs(self) -> int:
        """Number of classes, or size of a target vector."""
        return self.targets.shape[1] if self.regression else int(self.targets.max()) + 1

    @property
    def channels(self) -> int:
        """Channels of an image, or size of an input vector."""
        return self.inputs.shape[1]

    @property
    def image_size(self) -> tuple[int, ...]:
        """Height and width of an image; nothing of a vector."""
        return tuple(self.inputs.shape[2:])

    @property
    def views(self) -> int:
        """How often an example goes forward in evaluation."""
        return 1

    def normalise(self, inputs: Tensor) -> Tensor:
        """Images: ((x / 255) - mean) / std, bitwise torchvision's ToTensor and Normalize; other numbers as they are."""
        if inputs.dtype == torch.uint8 and inputs.dim() > 3:
            return normalised(inputs, self.mean, self.std)
        return inputs.to(self.mean.dtype) if inputs.is_floating_point() else inputs

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

    def choose(self, examples: int | str, how: str, seed: int, key: str = "examples", which: str = "train") -> "Split":
        """A subset: `all`, the first n, or n with the same share of every class (drawn with the seed).

        Vectors and sequences have no class; of them it is always the first n.

        Raises:
            RequestError: more examples are asked for than there are.
        """
        return self if examples == "all" else self.take(chosen(self.targets, int(examples), how, seed, key, which))


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """((x / 255) - mean) / std in the dtype of the mean; x are bytes."""
    return images.to(mean.dtype).div_(255).sub_(mean).div_(std)


def chosen(targets: Tensor, count: int, how: str, seed: int, key: str, which: str) -> Tensor:
    """Indices of `count` examples, ascending, as `Split.choose` chooses them, on the targets' device."""
    if count > len(targets):
        problem = f"there are {len(targets):,} examples in the {which} split"
        refuse(key, problem, given=count, accepted="all or at most that")
    if how == "first" or targets.is_floating_point() or targets.dim() > 1:
        return torch.arange(count, device=targets.device)
    return stratified(targets.cpu(), count, seed).to(targets.device)


def arranged(inputs: Tensor) -> Tensor:
    """Images in channels_last memory; vectors as they are."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Indices of `count` examples, ascending, each class with its share (largest remainders get the rest).

    Example:
        >>> labels = torch.tensor([0] * 6 + [1] * 2)
        >>> torch.bincount(labels[stratified(labels, count=4, seed=0)])
        tensor([3, 1])
    """
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
