"""From the `data` section to two splits and a loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lossviz.config.data import Cifar10, Data, Gaussian, Images
from lossviz.data import cifar10, digits
from lossviz.data.gaussian import gaussian
from lossviz.data.split import Split, arranged
from lossviz.errors import RequestError


@dataclass(frozen=True)
class Dataset:
    """A data set as an experiment uses it.

    Attributes:
        train: the training examples chosen.
        test: the whole test set.
        outputs: number of classes, or size of a target vector.
    """

    train: Split
    test: Split
    outputs: int

    @property
    def channels(self) -> int:
        """Channels of an image, or size of an input vector."""
        return self.train.inputs.shape[1]

    @property
    def regression(self) -> bool:
        """Whether the targets are vectors, and the loss is the squared error."""
        return self.train.targets.is_floating_point()

    def to(self, device: torch.device, dtype: torch.dtype) -> "Dataset":
        """The same data on a device, with inputs in a dtype."""
        return Dataset(self.train.to(device, dtype), self.test.to(device, dtype), self.outputs)

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of each split."""
        return {"train": self.train.fingerprint(), "test": self.test.fingerprint()}


def load(config: Data, seed: int) -> Dataset:
    """Read a data set into memory and choose the training examples.

    Raises:
        RequestError: it is missing or damaged, or has fewer examples or other channels than asked for.
    """
    if isinstance(config, Gaussian):
        train, test = (Split(*part, _column((0.0,)), _column((1.0,))) for part in gaussian(config, seed).values())
        return Dataset(train, test, config.features)
    parts, mean, std = _images(config)
    channels = parts["train"][0].shape[1]
    for name, given in (("mean", config.mean), ("std", config.std)):
        if given is not None and len(given) != channels:
            raise RequestError(
                f"data.{name} = {list(given)}: {config.name} has {channels} channel(s), one number for each"
            )
    statistics = _column(config.mean or mean), _column(config.std or std)
    train, test = (Split(arranged(images), labels, *statistics) for images, labels in parts.values())
    classes = int(train.targets.max()) + 1
    return Dataset(train.choose(config.examples, config.choose, seed, "data.examples"), test, classes)


def _images(config: Images) -> tuple[dict[str, tuple[Tensor, Tensor]], tuple[float, ...], tuple[float, ...]]:
    if isinstance(config, Cifar10):
        return cifar10.cifar10(config), cifar10.MEAN, cifar10.STD
    return digits.digits(), digits.MEAN, digits.STD


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None]
