"""Run a user's file or module once, and record which files it read; `targets` decides whether it may."""

import hashlib
import importlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from lossviz.errors import LossvizError, Refusal, RequestError, WorkError, first_line
from lossviz.files import read, shown
from lossviz.seeding import seeded

# Every file of the user that was loaded, or is being loaded.
_files: set[str] = set()
# Modules that lie beside such a file, by folder and name.
_neighbours: dict[Path, dict[str, ModuleType]] = {}


@dataclass(frozen=True)
class Code:
    """A user's module, and SHA-256 of the files that it came from."""

    module: ModuleType
    files: Mapping[str, str]


@contextmanager
def explained(doing: str = "") -> Iterator[None]:
    """Report an error of a user's code in one line; with `doing`, also an error that a library raised.

    Raises:
        WorkError: names the user's file, the line and the exception.
    """
    try:
        yield
    except LossvizError:
        raise
    except (Exception, SystemExit) as error:  # a user's code raises anything
        where = ", ".join(filter(None, (_line(error), doing)))
        if not where:
            raise
        kind, reason = type(error).__name__, first_line(error)
        problem = kind if reason == kind else f"{kind}: {reason}"
        raise WorkError(Refusal(where, problem, advice="--debug shows the whole traceback")) from error


@cache
def load_file(path: Path) -> Code:
    """Run a file as a module under a unique name; what it draws from torch is the same every time.

    It is compiled from its text: a cache beside it (__pycache__) could hold other code.

    Args:
        path: resolved.

    Raises:
        RequestError: it cannot be read.
        WorkError: it fails.
    """
    content = read(path)
    module = ModuleType(f"own_{_sha256(str(path).encode())[:16]}")
    module.__file__ = str(path)
    _files.add(str(path))
    sys.modules[module.__name__] = module
    try:
        with explained(f"while {shown(path)} is loaded"), _beside(path.parent), _same_draws():
            exec(compile(content, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[module.__name__]
        raise
    beside = {_source(each) for each in _neighbours[path.parent].values()} - {""}
    _files.update(beside)
    return Code(module, {str(path): _sha256(content), **{name: _sha256(read(Path(name))) for name in sorted(beside)}})


@cache
def load_module(name: str) -> Code:
    """Import a module from Python's path.

    Raises:
        RequestError: there is none of that name.
        WorkError: it fails.
    """
    with explained(f"while {name} is imported"), _same_draws():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise
            advice = "install it, set PYTHONPATH, or name a file"
            raise RequestError(Refusal(name, f"Python finds no module {error.name}", advice=advice)) from None
    source = _source(module)
    _files.update(filter(None, [source]))
    return Code(module, {source: _sha256(read(Path(source)))} if source else {})


def _same_draws() -> AbstractContextManager[None]:
    # Of no experiment's seed: the next one in this process finds it loaded.
    return seeded(torch.device("cpu"), 0, "load")


@contextmanager
def _beside(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours while it is loaded; last on the path, so that none stands in for a library.

    Neighbours of files in other folders are out of the way: each folder may have a utils.py.
    """
    for other, hidden in _neighbours.items():
        for name in hidden if other != folder else ():
            sys.modules.pop(name, None)
    path, mine = list(sys.path), _neighbours.setdefault(folder, {})
    modules = sys.modules.keys() - mine.keys()
    sys.modules.update(mine)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path[:] = path
        found = {name: module for name, module in sys.modules.items() if name.partition(".")[0] not in modules}
        mine.update({name: module for name, module in found.items() if _lies_in(name.partition(".")[0], folder)})


def _lies_in(name: str, folder: Path) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    return any(Path(place).parent == folder for place in places if place)


def _source(module: ModuleType) -> str:
    """The file of Python that a module came from, if any."""
    file = getattr(module, "__file__", None) or ""
    return file if file.endswith(".py") else ""


def _line(error: BaseException) -> str:
    """The line of the user's code at which an error came up."""
    if isinstance(error, SyntaxError) and error.filename in _files:
        return f"{shown(Path(error.filename))}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _files]
    return f"{shown(Path(frames[-1].filename))}, line {frames[-1].lineno}" if frames else ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
