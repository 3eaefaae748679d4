"""The frozen prefix: what a network computes before its first moved module, computed once for a whole scan."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from lossviz.data.batch import Batch, digest
from lossviz.engine.memory import free_memory, is_out_of_memory
from lossviz.engine.terms import Losses
from lossviz.surface.recording import DepartedError, Record, Recording, Replay
from lossviz.surface.subspace import Subspace

# Of the free memory, what may be kept; where nobody knows how much is free, so many bytes.
SHARE, UNKNOWN = 0.25, 2**30
# Below this, what is kept is not worth its memory.
WORTH_KEEPING = 1.05

Lose = Callable[[Batch], Losses]


def begins_frozen(subspace: Subspace) -> bool:
    """Whether the first module that has tensors has none that is moved, so that there is something to keep."""
    moved = {id(tensor) for tensor in subspace.moved_tensors}
    own = ([*each.parameters(recurse=False), *each.buffers(recurse=False)] for each in subspace.model.modules())
    first = next((tensors for tensors in own if tensors), ())
    return not any(id(tensor) in moved for tensor in first)


class Prefix:
    """Keeps, for each batch, what the modules before the first moved one return, and gives it back at other points.

    Nothing that is computed before the first call of a module with a moved tensor depends on what moves, whatever the
    network looks like. So the outputs of modules that ended before are kept, and those modules do not compute again;
    of these outputs only those that are still in use then. Each batch is computed both ways at the second point that it
    meets, and the losses must be bitwise the same; else all outputs are kept, and if they still differ, none.

    Args:
        subspace: of the network, with what moves.
        pairs: the layers and BatchNorms that are one layer in the network that is evaluated, by name.

    Attributes:
        doubts: why it is not used although something is frozen, for a person.
    """

    def __init__(self, subspace: Subspace, pairs: Sequence[tuple[str, str]]) -> None:
        moved = {id(tensor) for tensor in subspace.moved_tensors}
        self._moved = {
            name
            for name, module in subspace.model.named_modules()
            if any(id(each) in moved for each in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        }
        self._moved |= {layer for layer, norm in pairs if norm in self._moved}
        self._holders = {
            name
            for name, _ in subspace.model.named_modules()
            if any(not name or each.startswith(f"{name}.") for each in self._moved) and name not in self._moved
        }
        self.doubts: list[str] = []
        self._active, self._lean, self._full = begins_frozen(subspace), True, False
        self._records: dict[bytes, Record] = {}
        self._bytes, self._times = 0, [0.0, 0.0]
        device = subspace.theta[0].device
        free = free_memory(device)
        self._most = UNKNOWN if free is None else int(SHARE * free)

    def attributes(self) -> dict[str, str | int | float]:
        """Attributes of a result file: until where, how much is kept, and how much faster that is."""
        if not (self._active and all(self._times)):
            return {}
        last = next(iter(self._records.values())).calls[-1][0]
        plain, kept = self._times
        return {"frozen_prefix": last, "frozen_prefix_bytes": self._bytes, "frozen_prefix_speedup": plain / kept}

    def __call__(self, network: nn.Module, losses: Lose, point: tuple[float, float]) -> Lose:
        """The losses of a network at a point, in as far as they are not known."""
        return partial(self._of_batch, network, losses, point) if self._active else losses

    def release(self) -> bool:
        """Give the memory back and keep nothing any more; whether there was any."""
        had = bool(self._records)
        self._stop()
        return had

    def _of_batch(self, network: nn.Module, losses: Lose, point: tuple[float, float], batch: Batch) -> Losses:
        if not self._active or torch.is_grad_enabled():
            return losses(batch)
        key = digest(batch)
        if key not in self._records:
            return losses(batch) if self._full else self._recorded(network, losses, key, Record(point), batch)
        record = self._records[key]
        if not record.verified:
            return self._verified(network, losses, record, point, batch)
        try:
            return self._replayed(network, losses, record, batch)
        except DepartedError:
            self._differs()
            return losses(batch)

    def _recorded(self, network: nn.Module, losses: Lose, key: bytes, record: Record, batch: Batch) -> Losses:
        watch = Recording(record, self._lean)
        with self._watched(network, watch):
            found = losses(batch)
        if not watch.over or not record.calls:
            self._stop()
        elif self._bytes + record.bytes <= self._most:
            self._records[key] = record
            self._bytes += record.bytes
        else:
            self._full = True
        return found

    def _replayed(self, network: nn.Module, losses: Lose, record: Record, batch: Batch) -> Losses:
        with self._watched(network, Replay(record)):
            return losses(batch)

    def _verified(
        self, network: nn.Module, losses: Lose, record: Record, point: tuple[float, float], batch: Batch
    ) -> Losses:
        """By both ways; the network's own losses are returned."""
        started = time.perf_counter()
        expected = losses(batch)
        seen = expected.seen.cpu()
        between = time.perf_counter()
        try:
            found = self._replayed(network, losses, record, batch).seen.cpu()
            same = found.shape == seen.shape and torch.allclose(found, seen, rtol=0, atol=0, equal_nan=True)
        except Exception as error:  # the network's own code works on what stands in for tensors that nothing reads
            if is_out_of_memory(error):
                raise
            same = False
        if not same:
            self._differs()
        elif point != record.point and bool(seen.isfinite().all()):
            record.verified = True
            self._times[0] += between - started
            self._times[1] += time.perf_counter() - between
            known = all(each.verified for each in self._records.values())
            if known and self._times[0] < WORTH_KEEPING * self._times[1]:
                self._stop()
        return expected

    def _differs(self) -> None:
        self._records.clear()
        self._bytes, self._times = 0, [0.0, 0.0]
        if not self._lean:
            self._stop()
            self.doubts.append(
                "what comes before the first layer that moves is computed at every point, which is slower: kept, it "
                "gives other losses than the network (random in eval mode?)"
            )
        self._lean = False

    def _stop(self) -> None:
        self._active = False
        self._records.clear()

    @contextmanager
    def _watched(self, network: nn.Module, watch: "Recording | Replay") -> Iterator[None]:
        """Calls of the network's modules go through a watch."""
        found = []
        try:
            for name, module in network.named_modules():
                kind = watch.moved if name in self._moved else watch.holder if name in self._holders else watch.frozen
                found.append((vars(module), vars(module).get("forward")))
                vars(module)["forward"] = partial(kind, name, module.forward)
            yield
        finally:
            for attributes, forward in found:
                attributes.pop("forward")
                if forward is not None:
                    attributes["forward"] = forward
