"""The processes of one training: sums over them, and decisions that all of them take alike."""

import hashlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, distributed

from lossviz.data.load import AnySplit
from lossviz.distributed.ranks import Ranks, UnreachableError, waiting_for_others
from lossviz.errors import refuse


class Group:
    """The processes that train together; whatever one of them calls, the others call too, in the same order.

    A single process does not wait, and gets back what it gave, bit for bit.

    Args:
        ranks: which of them this one is; alone unless given.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.ranks = ranks or Ranks()

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.ranks.first

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.ranks.alone

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor summed over the processes, the same to the last bit in all of them; one message for each dtype.

        Raises:
            UnreachableError: another process has ended; so for all methods that wait for the others.
        """
        if self.alone:
            return list(tensors)
        found: dict[int, Tensor] = {}
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = {place: tensor for place, tensor in enumerate(tensors) if tensor.dtype == dtype}
            flat = torch.cat([tensor.reshape(-1) for tensor in alike.values()])
            with waiting_for_others():
                distributed.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in alike.values()])
            # In the memory layout of each: an optimiser is slower where a gradient lies otherwise than its parameter.
            for (place, tensor), part in zip(alike.items(), parts, strict=True):
                found[place] = torch.empty_like(tensor).copy_(part.view(tensor.shape))
        return [found[place] for place in range(len(tensors))]

    def mean(self, values: Sequence[float], weight: float) -> list[float]:
        """The mean over all examples from the means over those of each process; a weight of 0 says nothing."""
        if self.alone:
            return list(values)
        sums = [value * weight for value in values] if weight else [0.0] * len(values)
        (total,) = self.total([torch.tensor([*sums, weight], dtype=torch.float64)])
        return (total[:-1] / total[-1]).tolist()

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each number."""
        if self.alone:
            return list(numbers)
        found = torch.tensor(numbers)
        with waiting_for_others():
            distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return found.tolist()

    def part(self) -> None:
        """Wait at the end until all processes are there.

        One that ends resets its connections, and the others, which may still read from them the agreement to end, would
        take it for a failure.
        """
        with suppress(UnreachableError):  # it is there, and has ended
            self.largest(0)

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes what the first one has, in place."""
        if not self.alone:
            for tensor in tensors:
                with waiting_for_others():
                    distributed.broadcast(tensor, 0)

    def shard(self, split: AnySplit) -> AnySplit:
        """The examples that this process evaluates: contiguous; all processes together have each once."""
        if self.alone:
            return split
        rank, world, count = self.ranks.rank, self.ranks.world, len(split)
        rows = torch.arange(rank * count // world, (rank + 1) * count // world, device=split.device)
        return split.take(rows)

    def refuse_differences(self, facts: Mapping[str, object]) -> None:
        """Check that all processes have the same facts.

        Raises:
            RequestError: they do not; names what differs.
        """
        numbers = [_number(value) for value in facts.values()]
        highest, lowest = self.largest(*numbers), self.largest(*(-number for number in numbers))
        differing = [name for name, high, low in zip(facts, highest, lowest, strict=True) if high != -low]
        if differing:
            refuse(
                "the processes do not fit together",
                f"they have different {', '.join(differing)}",
                advice="start the same command with the same files on all machines, in a folder that all of them share",
            )

    def refuse_one_device_for_two(self, device: torch.device) -> None:
        """Check that each process has a CUDA device of its own.

        Raises:
            RequestError: two of them have the same.
        """
        own = _number([socket.gethostname(), str(device)])
        devices = self.largest(*(own if rank == self.ranks.rank else 0 for rank in range(self.ranks.world)))
        if len(set(devices)) < len(devices):
            refuse(
                f"several processes have one device; {socket.gethostname()} has {torch.cuda.device_count()} for CUDA",
                advice="give torchrun as many --nproc-per-node, and lossviz --device auto or cuda",
            )


@contextmanager
def joined(ranks: Ranks, device: torch.device, purpose: str) -> Iterator[Group]:
    """The processes that torchrun started, connected: by NCCL between CUDA devices, by gloo between CPUs.

    Raises:
        RequestError: two processes have the same CUDA device.
    """
    if ranks.alone:
        yield Group()
        return
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    with waiting_for_others():
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=ranks.store(purpose).store,
            rank=ranks.rank,
            world_size=ranks.world,
        )
    try:
        group = Group(ranks)
        if cuda:
            group.refuse_one_device_for_two(device)
        yield group
    finally:
        distributed.destroy_process_group()


def _number(fact: object) -> int:
    """A whole number that stands for a fact."""
    return int.from_bytes(hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).digest()[:7], "big")
