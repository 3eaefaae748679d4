"""What this process unpickles of the messages of a cluster: numbers, text, and errors with a text."""

import builtins
import io
import logging
import pickle
import warnings
from collections.abc import Sequence

import distributed.client
import distributed.protocol.pickle

# Of an error nothing but its class and its text is wanted; the classes are Python's own.
ERRORS = {name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, Exception)}


class NotUnpickledError(Exception):
    """Stands for an object that this process does not make."""


def _error(kind: object, given: object, *others: object) -> Exception:
    """An error as tblib pickles it, without its traceback: by arguments, or by attributes with these among them."""
    arguments = given.get("args", others[-1]) if isinstance(given, dict) else given
    if isinstance(kind, type) and issubclass(kind, Exception) and isinstance(arguments, tuple):
        return kind(*arguments)
    return NotUnpickledError(str(arguments)[:200])


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if module == "builtins" and name in ERRORS | {"bytes"}:
            return getattr(builtins, name)
        if module == "tblib.pickling_support" and name.startswith("unpickle_exception"):
            return _error
        return type(name, (NotUnpickledError,), {})


def loads(pickled: bytes, *, buffers: Sequence[pickle.PickleBuffer] = ()) -> object:
    """In place of `pickle.loads`: what is neither number, text nor one of Python's errors is a `NotUnpickledError`.

    None is raised here: that would end the connection to the scheduler.
    """
    try:
        return _Unpickler(io.BytesIO(pickled), buffers=buffers or None).load()
    except Exception as error:
        return NotUnpickledError(str(error)[:200])


def clean_exception(exception: object = None, *_: object, **__: object) -> tuple[type[Exception], Exception, None]:
    """In place of distributed's: an error without its traceback, whatever came."""
    found = loads(bytes(exception)) if isinstance(exception, bytes | bytearray) else exception
    error = found if isinstance(found, Exception) else NotUnpickledError(str(found)[:200])
    return type(error), error, None


class _Guarded:
    """In place of the module `pickle` where distributed uses it by name."""

    loads = staticmethod(loads)


def guard() -> None:
    """Let distributed unpickle by `loads` in this process, and keep its logs from the person.

    A worker's answers are asked for as msgpack, but distributed unpickles by itself: the types of answers and the
    errors of tasks (`Client._handle_key_in_memory`, `_handle_task_erred`), what a message marks as pickled
    (`protocol.core.loads`), and the warnings that a worker logs (`_handle_warn`).
    """
    vars(distributed.protocol.pickle)["loads"] = loads
    vars(distributed.client).update(loads=loads, pickle=_Guarded, clean_exception=clean_exception)
    quiet(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"distributed\.|contextlib")
    for topic in ("print", "warn"):
        distributed.Client._default_event_handlers.pop(topic, None)


def quiet(level: int) -> None:
    """Let distributed, and what it stands on, log from a level on; some of its loggers have levels of their own."""
    libraries = ("distributed", "asyncio", "tornado")
    for name in {*libraries, *logging.root.manager.loggerDict}:
        if name.partition(".")[0] in libraries:
            logging.getLogger(name).setLevel(level)
