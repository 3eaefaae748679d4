"""Pickled files as data: what stands in for classes, and that nothing a file names is imported or called."""

import argparse
import collections
import datetime
import enum
import functools
import io
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from lossviz.engine.pickled import Inert, load_torch, stand_in


def saved(tree: object, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@pytest.fixture
def foreign() -> Iterator[ModuleType]:
    """A module with classes of somebody else, who alone could import it: it is gone when the file is read."""
    module = ModuleType("somebodys")
    source = """
class Config: pass
class AttributeDict(dict): pass
class Steps(list): pass
class Slots:
    __slots__ = ("a",)
def run(*args): raise AssertionError("it ran")
"""
    exec(source, vars(module))
    sys.modules["somebodys"] = module
    yield module
    sys.modules.pop("somebodys", None)


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize("zipped", [True, False])
def test_classes_of_others_are_passed_over_and_not_imported(foreign: ModuleType, zipped: bool) -> None:
    """Hyper-parameters as trainers leave them; the tensors and plain values beside them are what they were."""
    config, slots = foreign.Config(), foreign.Slots()
    config.lr, slots.a = 0.1, 3
    weight = torch.randn(3, 2)
    content = saved(
        {
            "weight": weight,
            "config": config,
            "attributes": foreign.AttributeDict(lr=0.1, inner=foreign.AttributeDict(depth=3)),
            "steps": foreign.Steps([1, 2]),
            "slots": slots,
            "epoch": 7,
        },
        zipped,
    )
    del sys.modules["somebodys"]
    found: Any = load_torch(content)
    assert "somebodys" not in sys.modules
    assert torch.equal(found["weight"], weight)
    assert found["epoch"] == 7
    assert isinstance(found["config"], Inert)
    assert (found["config"].name, found["config"].state) == ("somebodys.Config", {"lr": 0.1})
    assert found["attributes"] == {"lr": 0.1, "inner": {"depth": 3}}
    assert found["steps"] == [1, 2]
    assert isinstance(found["slots"], Inert)


@pytest.mark.parametrize("zipped", [True, False])
def test_classes_of_data_in_the_standard_library(zipped: bool) -> None:
    tree = {
        "namespace": argparse.Namespace(lr=0.1, path=Path("a")),
        "counts": collections.defaultdict(list, a=[1]),
        "queue": collections.deque([1, 2]),
        "when": datetime.date(2026, 1, 1),
        "partial": functools.partial(int, base=2),
        "colour": Colour.RED,
        "kind": float,
        "any": Any,
    }
    found: Any = load_torch(saved(tree, zipped))
    assert found.keys() == tree.keys()
    assert found["counts"] == {"a": [1]}


@pytest.mark.parametrize("zipped", [True, False])
def test_what_another_library_allows_torch_to_make_is_not_made(foreign: ModuleType, zipped: bool) -> None:
    """Some libraries allow classes for the whole process; a dictionary of theirs would be refused by torch, too."""
    content = saved({"config": foreign.Config(), "counts": collections.defaultdict(list, a=[1])}, zipped)
    others = torch.serialization.get_safe_globals()
    try:
        torch.serialization.add_safe_globals([foreign.Config, collections.defaultdict])
        before = set(torch.serialization.get_safe_globals())
        found: Any = load_torch(content)
        assert set(torch.serialization.get_safe_globals()) == before
    finally:  # torch's own `safe_globals` would also forget what was allowed before
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(others)
    assert isinstance(found["config"], Inert)
    assert found["counts"] == {"a": [1]}


class Calls:
    """An object that is made by calling a function when it is unpickled."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.args


def touch(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_function_is_never_called(tmp_path: Path, zipped: bool) -> None:
    """Not even one of a module that is loaded: it is not looked up."""
    proof = tmp_path / "it ran"
    found: Any = load_torch(saved({"a": torch.ones(1), "b": Calls(touch, proof)}, zipped))
    assert isinstance(found["b"], Inert)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Calls(touch, proof)))
    assert proof.exists()  # this is what it would have done


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (eval, ("1",), "eval"),
        (getattr, (1, "real"), "getattr"),
        (__import__, ("os",), "__import__"),
        (sys.intern, ("a",), "sys.intern"),
        (__import__("os").system, ("true",), "system"),
        (__import__("subprocess").Popen, (["true"],), "subprocess.Popen"),
        (__import__("runpy").run_path, ("a.py",), "runpy.run_path"),
        (pickle.loads, (b"",), "loads"),
    ],
)
def test_what_can_only_be_code_is_refused(
    zipped: bool, function: Callable[..., object], args: tuple[object, ...], name: str
) -> None:
    with pytest.raises(pickle.UnpicklingError, match=name):
        load_torch(saved({"a": torch.ones(1), "b": Calls(function, *args)}, zipped))


def test_torch_s_allowance_is_as_it_was(foreign: ModuleType) -> None:
    content = saved({"config": foreign.Config()})
    before = set(torch.serialization.get_safe_globals())
    load_torch(content)
    with pytest.raises(pickle.UnpicklingError):
        load_torch(saved(Calls(eval, "1")))
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match=r"somebodys\.Config"):
        torch.load(io.BytesIO(content), weights_only=True)


def test_a_stand_in_knows_what_it_stands_for() -> None:
    made = stand_in("a.b.C")(1, 2)
    assert (type(made).__module__, type(made).__name__) == ("a.b", "C")
    assert (made.name, made.args) == ("a.b.C", (1, 2))


def test_a_flipped_bit_in_the_weights_of_a_zipped_file_is_named() -> None:
    """torch writes a CRC-32 of every part, and does not look at it."""
    weights = torch.full((300,), 0.5)
    content = bytearray(saved({"a": weights}))
    content[content.index(weights.numpy().tobytes())] ^= 1
    assert not torch.equal(torch.load(io.BytesIO(content))["a"], weights)
    with pytest.raises(pickle.UnpicklingError, match=r"its part \S+ does not match its checksum"):
        load_torch(bytes(content))
