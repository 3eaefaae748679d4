"""Several processes on one or many machines, as torchrun starts them."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from lossviz.errors import RequestError

# Somebody may be measuring batch sizes, compiling or computing eigenvectors meanwhile.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is.

    Attributes:
        rank: from 0, over all machines; rank 0 speaks, writes results and holds the lock.
        world: how many there are.
        local_rank: from 0, on this machine; the number of its GPU.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.world == 1

    def store(self, purpose: str) -> Store:
        """Keys and counters that all processes share, for one purpose."""
        # A restart of torchrun keeps the store, and must not find the counters of the attempt before it.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return PrefixStore(f"lossviz/{attempt}/{purpose}", _store())

    def gather(self, purpose: str, found: Mapping[str, str], wait_s: float) -> list[Mapping[str, str]]:
        """What the processes found that say so within some seconds, for the first of them; nothing for the others."""
        if self.alone:
            return [found]
        store, end = self.store(purpose), time.monotonic() + wait_s
        store.set(str(self.rank), json.dumps(dict(found)))
        if not self.first:
            return []
        names = [str(rank) for rank in range(self.world)]
        # Asked again and again: within store.get no signal would be heard.
        while not store.check(names) and time.monotonic() < end:
            time.sleep(0.05)
        return [json.loads(store.get(name)) for name in names if store.check([name])]


def ranks() -> Ranks:
    """From the environment that torchrun sets; one process without it.

    Raises:
        RequestError: the environment is incomplete.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [os.environ.get(name) for name in names]
    if values[0] is None and values[1] is None:
        return Ranks()
    if not all(value is not None and value.isdecimal() for value in values):
        given = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        raise RequestError(f"the environment of several processes is incomplete: {given}\n  start them with torchrun")
    return Ranks(*(int(value or 0) for value in (values[0], values[1], values[2])))


@cache
def _store() -> Store:
    store: Store
    store, _, _ = next(iter(rendezvous("env://")))
    store.set_timeout(PATIENCE)
    return store
