"""SIGINT and SIGTERM: long work stops at a safe point, keeps what is finished, and exits with 128 + signal."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# Longer than the destructor that swallowed a signal still needs.
SECONDS_TO_REPEAT = 0.05


class Stopped(BaseException):
    """A person or the system asked to stop; not an Exception, so that nothing swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.exit_status = number, 128 + number


class StopRequest:
    """Remembers the first request to stop until the work reaches a safe point."""

    def __init__(self) -> None:
        self.number = 0
        self.is_hasty = False

    def __bool__(self) -> bool:
        return self.number != 0

    def obey(self) -> None:
        """Stop here if a stop was requested."""
        if self.number:
            raise Stopped(self.number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block the first request stops already, wherever it arrives: nothing would be lost."""
        self.obey()
        self.is_hasty = True
        try:
            yield
        finally:
            self.is_hasty = False


def raise_on_signals() -> None:
    """Turn both signals into `Stopped` wherever they arrive; Python swallows it in destructors, so it comes again."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise)
    before = sys.unraisablehook

    def repeat(swallowed: "sys.UnraisableHookArgs") -> None:
        if isinstance(swallowed.exc_value, Stopped):
            _send_later(swallowed.exc_value.number)
        else:
            before(swallowed)

    sys.unraisablehook = repeat


@contextmanager
def deferred() -> Iterator[StopRequest]:
    """Within the block the first signal only sets the request; a second one stops at once."""
    request = StopRequest()

    def remember(number: int, frame: FrameType | None) -> None:
        if request or request.is_hasty:
            _raise(number, frame)
        request.number = number

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unbroken() -> Iterator[None]:
    """Within the block the first signal waits for its end: libraries that are being imported swallow `Stopped`."""
    with deferred() as request:
        yield
    request.obey()


def _raise(number: int, _: FrameType | None) -> None:
    raise Stopped(number)


def _send_later(number: int) -> None:
    """Send a signal to the main thread, from another one: sent here, its handler would run here, inside the hook."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(SECONDS_TO_REPEAT, signal.pthread_kill, (main, number))
    timer.daemon = True
    with suppress(RuntimeError):  # the interpreter ends anyway, and starts no more threads
        timer.start()
