"""From the `data` section to a `Dataset`: two splits and what is known of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from lossviz.config.data import Cifar10, Data, Gaussian, ImageFolder, Images, OwnData, Text
from lossviz.data import cifar10, digits
from lossviz.data.batch import is_pair
from lossviz.data.collated import CollatedMinibatches, CollatedSplit, is_dataset
from lossviz.data.gaussian import gaussian
from lossviz.data.imagefolder import MEAN, STD, imagefolder
from lossviz.data.iterated import IteratedSplit
from lossviz.data.minibatches import Minibatches
from lossviz.data.own import Part, own_data
from lossviz.data.split import Split, arranged
from lossviz.data.streamed import StreamedSplit
from lossviz.data.streamed_minibatches import StreamedMinibatches
from lossviz.data.text import VOCABULARY, text
from lossviz.errors import refuse
from lossviz.user_code.permissions import NOBODY, Allowed

AnySplit: TypeAlias = Split | StreamedSplit | CollatedSplit | IteratedSplit


@dataclass(frozen=True)
class Dataset:
    """A data set as an experiment uses it.

    Attributes:
        train: the training examples chosen.
        test: the whole test set.
        outputs: number of classes or tokens, or size of a target vector; 0 where batches are no pairs of inputs and
            targets.
    """

    train: AnySplit
    test: AnySplit
    outputs: int

    @property
    def channels(self) -> int:
        """Channels of an image, or size of an input vector."""
        return self.train.channels

    @property
    def image_size(self) -> tuple[int, ...]:
        """Height and width of an image; nothing of a vector."""
        return self.train.image_size

    @property
    def regression(self) -> bool:
        """Whether the targets are vectors, and the loss is the squared error."""
        return self.train.regression

    @property
    def sequences(self) -> bool:
        """Whether the targets are sequences of classes, such as next tokens, (N, T)."""
        batch = next(iter(self.train.batches(1)))
        return is_pair(batch) and batch[1].dim() == 2 and not batch[1].is_floating_point()

    def to(self, device: torch.device, dtype: torch.dtype) -> "Dataset":
        """The same data on a device, with inputs in a dtype."""
        return Dataset(self.train.to(device, dtype), self.test.to(device, dtype), self.outputs)

    def minibatches(
        self, batch_size: int, seed: int, augment: str = "none"
    ) -> Minibatches | StreamedMinibatches | CollatedMinibatches:
        """Training minibatches by step.

        Raises:
            RequestError: the data are batches that are gone through one after another.
        """
        if isinstance(self.train, IteratedSplit):
            refuse(
                "data.target",
                "returns batches that are gone through one after another, of which no step can take its own: they are "
                "for scans alone",
                accepted="for training a Dataset, with len() and examples by index; or (inputs, targets)",
            )
        if isinstance(self.train, CollatedSplit):
            return CollatedMinibatches(self.train, batch_size, seed, augment)
        if isinstance(self.train, StreamedSplit):
            return StreamedMinibatches(self.train, batch_size, seed, augment)
        return Minibatches(self.train, batch_size, seed, augment)

    @property
    def streamed(self) -> list[StreamedSplit]:
        """The splits whose images stay in their files."""
        return [each for each in (self.train, self.test) if isinstance(each, StreamedSplit)]

    @property
    def views(self) -> bool:
        """Whether images may come as several views each."""
        return self.train.views > 1 or self.test.views > 1

    @property
    def skips(self) -> bool:
        """Whether damaged files are passed over."""
        return any(split.config.corrupt == "skip" for split in self.streamed)

    @property
    def damaged(self) -> dict[str, str]:
        """The damaged files that were met and skipped so far, with what is wrong with each."""
        return {path: reason for split in self.streamed for path, reason in sorted(split.damaged.items())}

    def add_damaged(self, damaged: Mapping[str, str]) -> None:
        """Count damaged files that another process met and skipped."""
        for split in self.streamed[:1]:
            split.damaged.update(damaged)

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of each split."""
        return {"train": self.train.fingerprint(), "test": self.test.fingerprint()}


def load(config: Data, seed: int, allowed: Allowed = NOBODY) -> Dataset:
    """Read a data set into memory and choose the training examples.

    Args:
        config: the data set.
        seed: of the experiment.
        allowed: whose code may run.

    Raises:
        RequestError: it is missing or damaged, or has fewer examples or other channels than asked for; or it is a
            person's own, and is not allowed or not a data set.
        WorkError: a person's own code fails.
    """
    if isinstance(config, Gaussian):
        train, test = (Split(*part, _column((0.0,)), _column((1.0,))) for part in gaussian(config, seed).values())
        return Dataset(train, test, config.features)
    if isinstance(config, Text):
        train, test = (Split(*part, _column((0.0,)), _column((1.0,))) for part in text(config).values())
        return Dataset(train.choose(config.examples, "first", seed, "data.examples"), test, VOCABULARY)
    if isinstance(config, ImageFolder):
        return _streamed(config, seed)
    if isinstance(config, OwnData):
        return _own(config, seed, allowed)
    parts, mean, std = _resident(config)
    statistics = _statistics(config, parts["train"][0].shape[1], mean, std)
    train, test = (Split(arranged(images), labels, *statistics) for images, labels in parts.values())
    return _chosen(config, seed, train, test)


def _own(config: OwnData, seed: int, allowed: Allowed) -> Dataset:
    train, test = (_own_split(config, seed, part) for part in own_data(config, seed, allowed).values())
    return _chosen(config, seed, train, test)


def _own_split(config: OwnData, seed: int, part: Part) -> AnySplit:
    if isinstance(part, tuple):
        channels = part[0].shape[1]
        return Split(arranged(part[0]), part[1], *_statistics(config, channels, (0.0,) * channels, (1.0,) * channels))
    if not is_dataset(part):
        assert isinstance(part, Iterable)  # as own_data has seen
        return IteratedSplit(part, torch.device("cpu"), torch.float32)
    split = CollatedSplit(part, range(len(part)), _column((0.0,)), _column((1.0,)), seed)
    if not split.holds_images:
        return split
    mean, std = _statistics(config, split.channels, (0.0,) * split.channels, (1.0,) * split.channels)
    return replace(split, mean=mean, std=std)


def _chosen(config: Images, seed: int, train: AnySplit, test: AnySplit) -> Dataset:
    outputs = max(train.outputs, test.outputs)
    return Dataset(train.choose(config.examples, config.choose, seed, "data.examples"), test, outputs)


def _streamed(config: ImageFolder, seed: int) -> Dataset:
    train, test = imagefolder(config, *_statistics(config, 3, MEAN, STD))
    chosen = train.choose(config.examples, config.choose, seed, "data.examples")
    return Dataset(chosen, test, len(train.index.classes))


def _statistics(
    config: Images, channels: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    for name, given in (("mean", config.mean), ("std", config.std)):
        if given is not None and len(given) != channels:
            refuse(f"data.{name}", f"{config.name} has {channels} channel(s), one number for each", given=given)
    return _column(config.mean or mean), _column(config.std or std)


def _resident(
    config: Images,
) -> tuple[dict[str, tuple[Tensor, Tensor]], tuple[float, ...], tuple[float, ...]]:
    if isinstance(config, Cifar10):
        return cifar10.cifar10(config), cifar10.MEAN, cifar10.STD
    return digits.digits(), digits.MEAN, digits.STD


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None]
