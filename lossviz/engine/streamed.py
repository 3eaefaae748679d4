"""Vectors that are never in memory as a whole: their tensors are read or drawn piece by piece, again at every use."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedRandom
from itertools import chain
from typing import overload

import torch
from torch import Tensor

# Elements that are worked on at a time where that takes a copy in a longer dtype: no tensor of a network of ours has
# more (a convolution from 512 to 512 channels), so sums over it are as they were when they were taken whole.
PIECE = 512 * 512 * 9

Index = slice | tuple[()]
"""Of a part of a tensor: some rows, or all of it."""


def pieces(tensor: Tensor) -> list[Index]:
    """Indices of parts of a tensor that have at most `PIECE` elements: rows of a large one, or all of it.

    Their number of rows is a multiple of 16, but for the last, which has 16 elements or more: numbers drawn piece by
    piece are then those of the whole (torch draws normal numbers in blocks of 16).
    """
    if tensor.numel() <= PIECE or tensor.dim() < 2:
        return [()]
    step = max(16, PIECE * len(tensor) // tensor.numel() // 16 * 16)
    stops = [*range(step, len(tensor), step), len(tensor)]
    if len(stops) > 1 and (len(tensor) - stops[-2]) * tensor[0].numel() < 16:
        del stops[-2]
    return [slice(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


class Scratch:
    """One piece of memory for many tensors of a dtype, one after another.

    Blocks that are taken and given back between others, in other sizes, leave holes that glibc 2.36 does not fill
    again: scans of a network of 64 MB grew by 270 to 440 MB of them.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self._memory = torch.empty(0, dtype=dtype, device=device)

    def empty_like(self, tensor: Tensor) -> Tensor:
        """A tensor of a shape and order in memory, dense, with any values; valid until the next one."""
        layout = torch.empty_like(tensor, device="meta").stride()
        return self._at_least(tensor.numel(), self._memory.device).as_strided(tensor.shape, layout)

    def copy(self, tensor: Tensor) -> Tensor:
        """The values of a tensor, dense and in its order in memory; valid until the next one."""
        self._at_least(tensor.numel(), tensor.device)
        return self.empty_like(tensor).copy_(tensor)

    def bytes(self, numbers: int) -> memoryview:
        """The memory of the first numbers."""
        return self._memory[:numbers].view(torch.uint8).numpy().data

    def _at_least(self, numbers: int, device: torch.device) -> Tensor:
        if len(self._memory) < numbers or self._memory.device != device:
            self._memory = torch.empty(numbers, dtype=self._memory.dtype, device=device)
        return self._memory


class Streamed(Sequence[Tensor]):
    """A vector whose tensors are made when they are asked for."""

    @abstractmethod
    def parts(self, i: int) -> Iterator[Tensor]:
        """The `pieces` of tensor i in its order in memory, each valid until the next."""

    @abstractmethod
    def like(self, i: int) -> Tensor:
        """A tensor with the shape, dtype and device of tensor i."""

    @overload
    def __getitem__(self, i: int) -> Tensor: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, i: int | slice) -> Tensor | Sequence[Tensor]:
        """Tensor i as a whole."""
        if isinstance(i, slice):
            return [self[each] for each in range(len(self))[i]]
        whole = torch.empty_like(self.like(i))
        for rows, part in zip(pieces(whole), self.parts(i), strict=True):
            whole[rows].copy_(part)
        return whole


def parts_of(vector: Sequence[Tensor], i: int) -> Iterator[Tensor]:
    """The pieces of tensor i of any vector."""
    if isinstance(vector, Streamed):
        return vector.parts(i)
    return all_parts([vector[i]])


def all_parts(vector: Iterable[Tensor]) -> Iterator[Tensor]:
    """The pieces of all tensors of any vector, in order."""
    if isinstance(vector, Streamed):
        return chain.from_iterable(map(vector.parts, range(len(vector))))
    return (tensor.detach()[rows] for tensor in vector for rows in pieces(tensor))


def picked(places: Sequence[tuple[Sequence[Tensor], int]], like: Sequence[Tensor]) -> Sequence[Tensor]:
    """Tensors of other vectors as one.

    Args:
        places: for each tensor, a vector and its index there.
        like: tensors of the same shapes, dtypes and devices.
    """
    if any(isinstance(vector, Streamed) for vector, _ in places):
        return _Picked(places, like)
    return [vector[i] for vector, i in places]


class _Picked(Streamed):
    def __init__(self, places: Sequence[tuple[Sequence[Tensor], int]], like: Sequence[Tensor]) -> None:
        self._places, self._like = places, like

    def __len__(self) -> int:
        return len(self._places)

    def parts(self, i: int) -> Iterator[Tensor]:
        """The pieces of tensor i."""
        return parts_of(*self._places[i])

    def like(self, i: int) -> Tensor:
        """A tensor like tensor i."""
        return self._like[i]


class OnDisk(Streamed):
    """A copy of tensors in a file.

    Args:
        tensors: what is copied; on their devices it comes back.
        file: empty, open for writing and reading.
    """

    def __init__(self, tensors: Sequence[Tensor], file: BufferedRandom) -> None:
        self._tensors, self._file = tensors, file
        self._starts: list[int] = []
        self._scratch = {tensor.dtype: Scratch(tensor.dtype) for tensor in tensors}
        for tensor in tensors:
            self._starts.append(file.tell())
            scratch = self._scratch[tensor.dtype]
            for rows in pieces(tensor):
                part = scratch.copy(tensor.detach()[rows].cpu())
                file.write(scratch.bytes(part.numel()))

    def __len__(self) -> int:
        return len(self._tensors)

    def parts(self, i: int) -> Iterator[Tensor]:
        """The pieces of tensor i."""
        at, tensor = self._starts[i], self._tensors[i]
        scratch = self._scratch[tensor.dtype]
        for rows in pieces(tensor):
            part = scratch.empty_like(tensor[rows])
            self._file.seek(at)
            at += self._file.readinto(scratch.bytes(part.numel()))
            yield part.to(tensor.device)

    def like(self, i: int) -> Tensor:
        """A tensor like tensor i."""
        return self._tensors[i]
