"""From the `data` section to two splits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lossviz.config.data import Cifar10, Data
from lossviz.data import cifar10, digits
from lossviz.data.split import Split
from lossviz.errors import RequestError


@dataclass(frozen=True)
class Dataset:
    """A data set as an experiment uses it."""

    train: Split
    test: Split
    classes: int

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.images.shape[1]

    def to(self, device: torch.device, dtype: torch.dtype) -> "Dataset":
        """The same data on a device, with inputs in a dtype."""
        return Dataset(self.train.to(device, dtype), self.test.to(device, dtype), self.classes)

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of each split."""
        return {"train": self.train.fingerprint(), "test": self.test.fingerprint()}


def load(config: Data, seed: int) -> Dataset:
    """Read a data set into memory and choose the training examples.

    Raises:
        RequestError: it is missing or damaged, or has fewer examples or other channels than asked for.
    """
    mean: tuple[float, ...]
    std: tuple[float, ...]
    if isinstance(config, Cifar10):
        parts, mean, std = cifar10.cifar10(config), cifar10.MEAN, cifar10.STD
    else:
        parts, mean, std = digits.digits(), digits.MEAN, digits.STD
    channels = parts["train"][0].shape[1]
    for name, given in (("mean", config.mean), ("std", config.std)):
        if given is not None and len(given) != channels:
            raise RequestError(
                f"data.{name} = {list(given)}: {config.name} has {channels} channel(s), one number for each"
            )
    statistics = _column(config.mean or mean), _column(config.std or std)
    train, test = (
        Split(images.contiguous(memory_format=torch.channels_last), labels, *statistics)
        for images, labels in (parts["train"], parts["test"])
    )
    classes = int(train.labels.max()) + 1
    return Dataset(train.choose(config.examples, config.choose, seed), test, classes)


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None]
