"""A person's map-style Dataset: examples of any form, taken when they are needed and never held whole."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeGuard, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from lossviz.data.batch import Batch, digest, is_pair, kind, moved
from lossviz.data.minibatches import WHOLE, InOrder, Minibatch, Order, Part, crop_flip, draw_crops
from lossviz.data.split import arranged, chosen, normalised
from lossviz.errors import refuse
from lossviz.seeding import generator, seeded
from lossviz.user_code.loader import explained

# Of which a fingerprint is taken: enough to tell data sets apart, and a moment's work.
FINGERPRINTED = 16
_CPU = torch.device("cpu")


@runtime_checkable
class Examples(Protocol):
    """A map-style Dataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


def is_dataset(part: object) -> TypeGuard[Examples]:
    """Whether this is a Dataset, and not a list of batches, which has the same methods."""
    return isinstance(part, Examples) and not isinstance(part, Sequence)


@dataclass(frozen=True, eq=False)
class CollatedSplit:
    """One split of a map-style Dataset; what `lossviz.data.split.Split` is for examples in memory.

    Examples are collated by the Dataset's own `collate_fn`, or by torch's default. What an example draws from torch's
    global generator is a pure function of the seed and of its place: in a minibatch the step and the row, in an
    evaluation its index, whatever the size of the batches. What `collate_fn` draws, such as the masks of a language
    model, is one of the first of these.

    Attributes:
        source: the Dataset.
        places: the examples that are used, by their indices in it.
        mean: of images, uint8 (C, H, W) with a target beside them: (C, 1, 1); its dtype is the one that networks get.
        std: likewise.
        seed: of the experiment.
        known: targets that were taken already, by place; shared by all parts of the split.
    """

    source: Examples
    places: Sequence[int]
    mean: Tensor
    std: Tensor
    seed: int
    known: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.places)

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self.mean.device

    @property
    def holds_images(self) -> bool:
        """Whether examples are pairs of an image in bytes and its target."""
        return bool(self._pair and self._pair[0].dtype == torch.uint8 and self._pair[0].dim() == 3)

    @property
    def channels(self) -> int:
        """Channels of an image, or size of an input vector; 0 where examples are no pairs of inputs and target."""
        return self._pair[0].shape[0] if self._pair and self._pair[0].dim() else 0

    @property
    def image_size(self) -> tuple[int, ...]:
        """Height and width of an image; nothing of a vector."""
        return tuple(self._pair[0].shape[1:]) if self._pair else ()

    @property
    def views(self) -> int:
        """How often an example goes forward in evaluation."""
        return 1

    @property
    def regression(self) -> bool:
        """Whether targets are real numbers."""
        return bool(self._pair and self._pair[1].is_floating_point())

    @property
    def outputs(self) -> int:
        """Number of classes, or size of a target vector; 0 where examples are no pairs of inputs and target."""
        if not self._pair:
            return 0
        if self.regression:
            return self._pair[1].numel()
        # One after the other: sequences may have different lengths.
        return 1 + max((int(each.max()) for each in self._targets() if each.numel()), default=0)

    @property
    def targets(self) -> Tensor:
        """The targets of all examples, for which each is taken once.

        Raises:
            RequestError: examples are no pairs of inputs and target.
        """
        if not self._pair:
            given = kind(self._example(self.places[0], "evaluation", self.places[0]))
            problem = f"its examples are {given}, no pairs (tensor, target), so they have no classes"
            refuse("data.target", problem)
        return torch.stack(list(self._targets())).to(self.device)

    def batches(self, size: int) -> Iterator[Batch]:
        """The whole split in order; the last batch may be smaller."""
        for start in range(0, len(self), size):
            places = self.places[start : start + size]
            examples = [self._example(place, "evaluation", place) for place in places]
            yield self.prepared(self._collated(examples, "evaluation", places[0]))

    def minibatch(self, order: Order, step: int, part: Part) -> Batch:
        """The examples of a step, or a rank's part of them, collated; see `prepared`."""
        rows = order.rows(part)
        indices = order.indices(step)[rows].tolist()
        places = [self.places[index] for index in indices]
        examples = [self._example(place, "step", step, rows.start + row) for row, place in enumerate(places)]
        return self._collated(examples, "step", step, rows.start)

    def prepared(self, batch: Batch) -> Batch:
        """A batch on the device, real numbers in the network's dtype, and images normalised."""
        batch = moved(batch, self.device, self.mean.dtype)
        if not (self._pair and is_pair(batch)):
            return batch
        inputs, targets = batch
        # A collate_fn may have made real numbers of the bytes itself.
        in_bytes = self.holds_images and inputs.dtype == torch.uint8 and inputs.dim() == 4
        return arranged(normalised(inputs, self.mean, self.std) if in_bytes else inputs), targets

    def take(self, indices: Tensor) -> "CollatedSplit":
        """The examples at some indices, as a split of their own."""
        return replace(self, places=[self.places[i] for i in indices.tolist()])

    def to(self, device: torch.device, dtype: torch.dtype) -> "CollatedSplit":
        """The same split with batches on a device, and real numbers in a dtype."""
        return replace(self, mean=self.mean.to(device, dtype), std=self.std.to(device, dtype))

    def fingerprint(self) -> str:
        """SHA-256 over the number of examples and the contents of 16 of them, as far as they are the same twice."""
        found = hashlib.sha256(repr((type(self.source).__name__, len(self))).encode())
        for i in sorted({len(self) * k // FINGERPRINTED for k in range(FINGERPRINTED)}):
            one, again = (digest(self._example(self.places[i], "evaluation", self.places[i])) for _ in range(2))
            found.update(one if one == again else b"random")
        found.update(repr((self.mean.tolist(), self.std.tolist())).encode())
        return f"sha256:{found.hexdigest()}"

    def choose(
        self, examples: int | str, how: str, seed: int, key: str = "examples", which: str = "train"
    ) -> "CollatedSplit":
        """A subset: `all`, the first n, or, of pairs with a class, n with the same share of every class.

        Raises:
            RequestError: more examples are asked for than there are.
        """
        if examples == "all":
            return self
        classes = self._pair and not self._pair[1].is_floating_point() and not self._pair[1].dim()
        targets = self.targets if how != "first" and classes else torch.zeros(len(self), 1)
        return self.take(chosen(targets, int(examples), how, seed, key, which))

    @cached_property
    def _pair(self) -> tuple[Tensor, Tensor] | None:
        """Inputs and target of the first example; None where examples have another form."""
        return _pair(self._example(self.places[0], "evaluation", self.places[0]))

    def _targets(self) -> Iterator[Tensor]:
        """The targets in order; inputs are not kept."""
        for place in self.places:
            if place not in self.known:
                found = _pair(self._example(place, "evaluation", place))
                if found is None:
                    problem = f"example {place} is no pair (tensor, target), as the first one is"
                    refuse("data.target", problem)
                self.known[place] = found[1].clone()
            yield self.known[place]

    def _example(self, place: int, *purpose: str | int) -> object:
        with seeded(_CPU, self.seed, "example", *purpose), explained(f"while example {place} of the data is read"):
            return self.source[place]

    def _collated(self, examples: list[object], *purpose: str | int) -> Batch:
        """A batch of examples."""
        collate: Callable[[list[object]], Batch] = getattr(self.source, "collate_fn", default_collate)
        advice = "while examples are collated (a Dataset may bring a collate_fn of its own)"
        with seeded(_CPU, self.seed, "collate", *purpose), explained(advice):
            return collate(examples)


class CollatedMinibatches(InOrder[CollatedSplit]):
    """Training minibatches by step, from a map-style Dataset."""

    def __call__(self, step: int, part: Part = WHOLE) -> Minibatch:
        """The minibatch of a step, or a rank's part of it."""
        batch = self.split.minibatch(self.order, step, part)
        if self.augment == "crop-flip":
            if not is_pair(batch):
                refuse("data.augment", f"its collate_fn returns {kind(batch)}", given=self.augment, accepted="none")
            inputs, targets = batch
            crops = draw_crops(self.batch_size, generator(self.order.seed, "augment", step))
            batch = crop_flip(inputs, crops[:, self.order.rows(part)]), targets
        return Minibatch(self.split.prepared(batch), self.order.noise(step, part))


def _pair(example: object) -> tuple[Tensor, Tensor] | None:
    """Inputs and target, where an example is that."""
    if not isinstance(example, tuple | list) or len(example) != 2 or not isinstance(example[0], Tensor):
        return None
    inputs, target = example
    return (inputs, torch.as_tensor(target)) if isinstance(target, Tensor | int | float | np.generic) else None
