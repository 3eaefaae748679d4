"""The precision of a forward pass."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Precision:
    """The precision of a forward pass: perhaps automatic mixed precision, to results in the parameters' dtype."""

    device: torch.device
    dtype: torch.dtype
    autocast: torch.dtype | None = None

    @contextmanager
    def mixed(self) -> Iterator[None]:
        """Automatic mixed precision, where it is wanted."""
        # Within another autocast torch would keep short copies of weights that have moved since.
        if not torch.compiler.is_compiling():
            torch.clear_autocast_cache()
        if self.autocast is None:
            yield
            return
        with torch.autocast(self.device.type, self.autocast):
            yield

    def widened(self, result: Tensor) -> Tensor:
        """A result in a dtype in which one can go on."""
        return result if self.autocast is None else result.to(self.dtype)


@contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Without the automatic mixed precision that the caller is in, on the devices of a network and on the CPU."""
    with ExitStack() as stack:
        for kind in {"cpu", *(parameter.device.type for parameter in model.parameters())}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield
