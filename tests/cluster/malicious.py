"""Tasks of a worker that wants to run code in the client."""

import pickle
from pathlib import Path
from typing import Any

from distributed import get_worker


class Bomb:
    """Makes a file where it is unpickled, but for the worker itself."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _touch, (self.file,)


class BombError(Exception):
    """The same as an error."""

    def __init__(self, file: str) -> None:
        super().__init__("harmless")
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _touch, (self.file,)


def _touch(file: str) -> Exception:
    try:
        get_worker()
    except ValueError:  # not in a worker
        Path(file).touch()
    return Exception("touched")


def fire(file: str) -> None:
    """What would happen."""
    pickle.loads(pickle.dumps(Bomb(file)))


def returned(file: str) -> Any:
    return Bomb(file)


def raised(file: str) -> bytes:
    raise BombError(file)


def logged(file: str) -> bytes:
    message = pickle.dumps(Bomb(file))
    for topic in ("warn", "print", "lossviz"):
        get_worker().log_event(topic, {"message": message, "category": message, "args": (message,)})
    return b"logged"


def honest(_: str) -> bytes:
    return b"honest"
