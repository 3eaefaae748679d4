"""The other side of a comparison in a process of its own, in which nothing is set for lossviz's sake."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any


class Beside:
    """A call of it is a call of some work there; the two sides take turns, and whichever waits does nothing.

    Args:
        make: from arguments to the work; both are sent to the process.
        arguments: of it.
    """

    def __init__(self, make: Callable[..., Callable[[], Any]], *arguments: object) -> None:
        # Not a fork: that would inherit what lossviz told the C library.
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make, arguments))

    def __enter__(self) -> "Beside":
        self._process.start()
        return self

    def __call__(self) -> None:
        self._here.send(True)
        if not self._here.recv():
            raise RuntimeError("the plain loop has failed")

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._here.send(False)
        self._process.join()


def _serve(there: Connection, make: Callable[..., Callable[[], Any]], arguments: tuple[object, ...]) -> None:
    # A DataLoader would start its workers as this process was started, by importing torch again: 10 s an epoch.
    multiprocessing.set_start_method("fork", force=True)
    work = None
    while there.recv():
        try:
            work = work or make(*arguments)
            work()
        except BaseException:
            there.send(False)
            raise
        there.send(True)
