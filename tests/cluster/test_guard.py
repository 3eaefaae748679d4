"""What this process unpickles: numbers, text and Python's own errors, and never a call."""

import pickle
from pathlib import Path
from typing import Any

import distributed.client
import pytest
from distributed.protocol import core
from distributed.protocol.serialize import ToPickle, to_serialize

from lossviz.cluster.guard import NotUnpickledError, guard, loads


class Malicious:
    """Makes a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("harmless", [1.5, "text", b"bytes", [1, {"a": (None, True)}], bytes])
def test_numbers_and_text(harmless: object) -> None:
    assert loads(pickle.dumps(harmless)) == harmless


def test_errors_of_python_keep_their_text() -> None:
    for error in (ValueError("three", 3), ModuleNotFoundError("no lossviz", name="lossviz"), OSError(28, "full")):
        found = loads(pickle.dumps(error))
        assert type(found) is type(error)
        assert str(found) == str(error)


class OwnError(Exception):
    """A class that only the sender should need."""


def test_other_errors_keep_their_arguments() -> None:
    found = loads(pickle.dumps(OwnError("three", 3)))
    assert isinstance(found, NotUnpickledError)
    assert not isinstance(found, OwnError)
    assert "three" in str(found)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_call(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "touched"
    for each in (Malicious(file), [Malicious(file)], ValueError(Malicious(file)), {"a": Malicious(file)}):
        pickled = pickle.dumps(each, protocol)
        loads(pickled)
        assert not file.exists()
    pickle.loads(pickled)
    assert file.exists()  # so it would have been


@pytest.mark.parametrize("name", [b"cos\nsystem\n", b"cbuiltins\neval\n", b"cbuiltins\nException.__reduce__\n"])
def test_no_function(name: bytes) -> None:
    found = loads(name + b"(S'1'\ntR.")
    assert isinstance(found, NotUnpickledError)


@pytest.mark.parametrize("cut", [b"", b"\x80", b"no pickle", b"\x80\x05\x95"])
def test_what_is_no_pickle_ends_nothing(cut: bytes) -> None:
    assert isinstance(loads(cut), NotUnpickledError)


def test_messages_of_distributed_go_through_it(tmp_path: Path) -> None:
    """Each of its ways to pickle, as a scheduler or a worker may use it."""
    guard()
    file = tmp_path / "touched"
    for message in (ToPickle(Malicious(file)), to_serialize(Malicious(file)), to_serialize(ToPickle(Malicious(file)))):
        frames = [bytes(frame) for frame in core.dumps({"op": "x", "data": message})]
        core.loads(frames)
        assert not file.exists()
    assert vars(distributed.client)["loads"] is loads
    assert vars(distributed.client)["pickle"].loads is loads
