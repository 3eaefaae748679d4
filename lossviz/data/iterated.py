"""A person's own batches, which are gone through again for every point of a scan and never held."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from lossviz.data.batch import Batch, digest, moved
from lossviz.errors import refuse


@dataclass(frozen=True, eq=False)
class IteratedSplit:
    """Batches that an iterable gives again and again in the same order, such as a DataLoader that does not shuffle.

    Their number of examples is nobody's to know before they are evaluated: the length is that in batches.

    Attributes:
        source: the iterable.
        device: where batches go.
        dtype: of their real numbers.
        limit: how many batches are used, the first ones; None: all.
    """

    source: Iterable[Batch]
    device: torch.device
    dtype: torch.dtype
    limit: int | None = None

    channels = outputs = 0
    image_size: tuple[int, ...] = ()
    views = 1

    @property
    def regression(self) -> bool:
        """Whether a batch is a pair of inputs and real numbers."""
        pair = self._first if isinstance(self._first, tuple | list) else ()
        return len(pair) == 2 and isinstance(pair[1], Tensor) and pair[1].is_floating_point()

    @property
    def targets(self) -> Tensor:
        """Nobody's to know.

        Raises:
            RequestError: always.
        """
        refuse(
            "data.target", "returned batches, whose classes nobody knows", accepted="a Dataset, or (inputs, targets)"
        )

    def __len__(self) -> int:
        return self._count if self.limit is None else self.limit

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self.source)

    @cached_property
    def _first(self) -> Batch:
        return next(iter(self.source))

    def batches(self, _: int = 0) -> Iterator[Batch]:
        """The batches as they are, whatever size is asked for."""
        for batch in islice(self.source, self.limit):
            yield moved(batch, self.device, self.dtype)

    def take(self, indices: Tensor) -> "IteratedSplit":
        """The first batches, as many as there are indices."""
        return replace(self, limit=len(indices))

    def to(self, device: torch.device, dtype: torch.dtype) -> "IteratedSplit":
        """The same batches on a device, real numbers in a dtype."""
        return replace(self, device=device, dtype=dtype)

    def fingerprint(self) -> str:
        """SHA-256 over the first batch: what comes after it is not looked at."""
        return f"sha256:{digest(self._first).hex()}"

    def choose(
        self, examples: int | str, _how: str, _seed: int, key: str = "examples", _which: str = "train"
    ) -> "IteratedSplit":
        """All of it.

        Raises:
            RequestError: a number of examples is asked for.
        """
        if examples != "all":
            problem = "the data are batches that are gone through one after another"
            refuse(key, problem, given=examples, accepted="all; or a Dataset, from which examples can be chosen")
        return self
