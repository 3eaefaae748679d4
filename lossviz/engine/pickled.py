"""Reading pickled files as data: nothing that they name is imported or called."""

import _compat_pickle
import io
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

# Of the standard library only these stand in checkpoints as data; whatever else a file names of it, such as
# posix.system or builtins.eval, is there to be called.
_DATA = {
    *("argparse", "collections", "datetime", "decimal", "enum", "fractions", "functools", "pathlib", "typing", "uuid"),
    *("_codecs.encode", "copyreg._reconstructor", "types.SimpleNamespace"),
    *(f"builtins.{each.__name__}" for each in (bool, bytearray, bytes, complex, dict, float, frozenset, int, list)),
    *(f"builtins.{each.__name__}" for each in (object, range, set, slice, str, tuple)),
}
# More than any file names: a circle of errors ends here.
_MOST_NAMES = 1000


class Inert:
    """In place of an object whose class is not loaded: an accuracy of numpy's, hyper-parameters, a callback.

    Attributes:
        name: of the class, as the file has it.
        args: what the object was to be made of.
        state: what was to be put into it.
    """

    name = ""
    args: tuple[object, ...] = ()
    state: object = None

    def __new__(cls, *args: object) -> "Inert":
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


def stand_in(name: str) -> type[Inert]:
    """An empty class for a name in a pickled file.

    Raises:
        UnpicklingError: it is one of the standard library that no data need.
    """
    module, _, last = name.rpartition(".")
    # Protocol 2 spells modules as Python 2 did: subprocess is `commands` there.
    name = f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{last}"
    root = name.partition(".")[0]
    if root in sys.stdlib_module_names and not {root, name} & _DATA:
        raise pickle.UnpicklingError(f"it holds {name.removeprefix('builtins.')}")
    return type(last, (Inert,), {"__module__": module, "name": name})


def load_torch(content: bytes) -> object:
    """What `torch.save` wrote, by torch's own reader with weights_only=True, on the CPU.

    That reader makes tensors and plain containers, and stops at any other class. Here it goes on with an empty
    stand-in, so that hyper-parameters, paths and counters beside the weights do not matter: their classes are neither
    imported nor called. What a file names of the standard library is refused, but for classes of data.

    Raises:
        Exception: of any kind, where the file is damaged, is none of torch's, or names code.
    """
    _check_parts(content)
    makers: dict[str, type] = {}
    for _ in range(_MOST_NAMES):
        try:
            with _allowing(makers):
                return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            name, maker = _wanted(str(error))
            if not name or makers.get(name) is maker:
                raise
            makers[name] = maker
    raise pickle.UnpicklingError("it names too many classes")


@contextmanager
def _allowing(makers: Mapping[str, type]) -> Iterator[None]:
    """Let torch's reader make these alone: it keeps what is allowed in a global set, to which any library may add.

    What others added would be called, and of two entries for one name torch takes either.
    """
    others = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([(maker, name) for name, maker in makers.items()])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)


def _check_parts(content: bytes) -> None:
    """Check the CRC-32 of every part, which torch writes and does not read: a flipped bit would be another weight."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            damaged = parts.testzip()
        if damaged:
            raise pickle.UnpicklingError(f"its part {damaged} does not match its checksum")


def _wanted(message: str) -> tuple[str, type]:
    """The class at which torch's reader stopped, and what it may make instead; no name where that is not the reason."""
    unknown = re.search(r"GLOBAL (\S+) was not an allowed global", message)
    if unknown:
        name = unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}"
        return name, stand_in(name)
    # A subclass of dict or list, which an empty object cannot stand for.
    filled = re.search(r"Can only (SETITEM|append).* but got <class '(.+)'>", message)
    return (filled[2], _DICT if filled[1] == "SETITEM" else _LIST) if filled else ("", Inert)


def _returning(container: type) -> type:
    """A class whose objects are containers of another one."""
    return type(container.__name__, (), {"__new__": lambda *_: container()})


_DICT, _LIST = _returning(OrderedDict), _returning(list)
