"""The precision of a forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Precision:
    """The precision of a forward pass: perhaps automatic mixed precision, to results in the parameters' dtype."""

    device: torch.device
    dtype: torch.dtype
    autocast: torch.dtype | None = None

    @contextmanager
    def mixed(self) -> Iterator[None]:
        """Automatic mixed precision, where it is wanted."""
        if self.autocast is None:
            yield
            return
        with torch.autocast(self.device.type, self.autocast):
            yield

    def widened(self, result: Tensor) -> Tensor:
        """A result in a dtype in which one can go on."""
        return result if self.autocast is None else result.to(self.dtype)
