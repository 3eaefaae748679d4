"""Several processes on one or many machines, as torchrun starts them."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from lossviz.errors import Refusal, WorkError, first_line, refuse

# Meanwhile another process may read data, compile or evaluate.
PATIENCE = timedelta(hours=12)
# torchrun's own store is there before its processes; without torchrun, the first of them may be reading data.
PATIENCE_TO_CONNECT = {True: timedelta(minutes=1), False: timedelta(minutes=30)}
SECONDS_BETWEEN_LOOKS = 0.05


class UnreachableError(WorkError):
    """Another process has ended, or cannot be reached."""


class SharedStore:
    """Keys that all processes share; a lost connection, or a wait that is too long, is `UnreachableError`.

    Args:
        store: torch's.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def set(self, key: str, value: str) -> None:
        """Let the others have a value."""
        with waiting_for_others():
            self.store.set(key, value)

    def get(self, key: str) -> bytes:
        """A value that is set."""
        with waiting_for_others():
            value: bytes = self.store.get(key)
        return value

    def check(self, keys: list[str]) -> bool:
        """Whether all of these keys are set."""
        with waiting_for_others():
            return bool(self.store.check(keys))


@contextmanager
def waiting_for_others() -> Iterator[None]:
    """Turn torch's errors about connections to other processes into words.

    Raises:
        UnreachableError: a process cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:
        reason = first_line(error).split(". ")[0]
        problem = f"another of the processes has ended, or cannot be reached: {reason}"
        advice = "its own error says why; the same command resumes from what was saved, with any number of processes"
        raise UnreachableError(Refusal(problem, advice=advice)) from error


@dataclass(frozen=True)
class Ranks:
    """The number of this process (its rank), and the number of all (the world).

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

    def store(self, purpose: str) -> SharedStore:
        """Keys that all processes share, for one purpose.

        Raises:
            UnreachableError: the store cannot be reached; so for all that is asked of it.
        """
        # A restart of torchrun keeps the store, and must not find the keys of the attempt before it.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        with waiting_for_others():
            return SharedStore(PrefixStore(f"lossviz/{attempt}/{purpose}", _store()))

    def gather(self, purpose: str, found: Mapping[str, str], wait_s: float) -> list[Mapping[str, str]]:
        """What the processes found that say so within some seconds, for the first of them; nothing for the others."""
        if self.alone:
            return [found]
        store, end = self.store(purpose), time.monotonic() + wait_s
        store.set(str(self.rank), json.dumps(dict(found)))
        if not self.first:
            return []
        names = [str(rank) for rank in range(self.world)]
        while not store.check(names) and time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return [json.loads(store.get(name)) for name in names if store.check([name])]


def ranks() -> Ranks:
    """From the environment that torchrun sets; one process without it, or where that says so (Kubeflow sets no more).

    Raises:
        RequestError: the environment is incomplete.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    values = [os.environ.get(name) for name in names]
    if values[1] == "1" or (values[0] is None and values[1] is None):
        return Ranks()
    if not all(value is not None and value.isdecimal() for value in values):
        given = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        refuse(f"the environment of several processes is incomplete: {given}", advice="start them with torchrun")
    return Ranks(*(int(value or 0) for value in (values[0], values[1], values[2])))


@cache
def _store() -> Store:
    store: Store
    by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store, _, _ = next(iter(rendezvous("env://", timeout=PATIENCE_TO_CONNECT[by_torchrun])))
    store.set_timeout(PATIENCE)
    return store
