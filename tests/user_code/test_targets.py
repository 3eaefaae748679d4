"""A person's own functions: found where allowed and nowhere else, and called with the configuration's arguments."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossviz.config.own import Own
from lossviz.errors import RequestError, WorkError
from lossviz.user_code.permissions import NOBODY, Allowed, parse_allowed
from lossviz.user_code.targets import hash_files, load_target

Call = Callable[..., Any]

FILE = """
from os import system
from shutil import rmtree as remove
from functools import partial

def make(depth, width=1, *, channels=7, classes):
    return {"depth": depth, "width": width, "channels": channels, "classes": classes}

class Net:
    def __init__(self, classes=3, **more):
        self.given = {"classes": classes, **more}

def loss(outputs, targets, scale=1):
    return scale * (outputs - targets)

def spoil(items):
    items.append(4)
    return items

renamed = make
shifted = partial(make, 3)
number = 3
"""


@pytest.fixture(name="call")
def _call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(FILE)

    def call(name: str, args: dict[str, Any] | None = None, positional: int = 0, **offered: object) -> Call:
        config = Own(name="own", target=f"nets.py:{name}", args=args or {})
        return load_target(config.target, config.args, parse_allowed(["nets.py"]), positional, **offered)

    return call


def test_arguments_of_the_configuration_are_given(call: Call) -> None:
    assert call("make", {"depth": 3, "classes": 5})() == {"depth": 3, "width": 1, "channels": 7, "classes": 5}
    assert call("Net", {"classes": 4, "a": [1, {"b": None}]})().given == {"classes": 4, "a": [1, {"b": None}]}
    assert call("loss", {"scale": 10}, 2)(5, 3) == 20
    assert call("renamed", {"depth": 0, "classes": 5})()["depth"] == 0


def test_offers_are_taken_by_parameters_that_need_them_and_by_no_others(call: Call) -> None:
    # channels has a default, which may mean something else than the data's channels
    assert call("make", {"depth": 3}, channels=1, classes=10)()["classes"] == 10
    assert call("make", {"depth": 3}, channels=1, classes=10)()["channels"] == 7
    assert call("make", {"depth": 3, "classes": 2}, channels=1, classes=10)()["classes"] == 2
    assert call("Net", channels=1, classes=10)().given == {"classes": 3}


@pytest.mark.usefixtures("call")
def test_the_configuration_stays_as_it_is() -> None:
    config = Own(name="own", target="nets.py:spoil", args={"items": [1, 2]})
    made = load_target(config.target, config.args, parse_allowed(["nets.py"]))
    assert made() == [1, 2, 4]
    assert made() == [1, 2, 4]
    assert config.args == {"items": [1, 2]}


@pytest.mark.parametrize(
    ("name", "args", "positional", "texts"),
    [
        ("make", {}, 0, ["missing a required argument: 'depth'", "it is make(depth, width=1, *, channels=7, classes)"]),
        (
            "make",
            {"depth": 1, "classes": 1, "depht": 2},
            0,
            ["unexpected keyword argument 'depht'", "args = {depth: 1"],
        ),
        ("loss", {"outputs": 1}, 2, ["multiple values for argument 'outputs'", "called with outputs, targets, **args"]),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    call: Call, name: str, args: dict[str, Any], positional: int, texts: list[str]
) -> None:
    with pytest.raises(RequestError) as caught:
        call(name, args, positional)
    assert str(caught.value).startswith(f"nets.py:{name}: does not fit ")
    assert all(text in str(caught.value) for text in texts), caught.value


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("maek", "has no maek; did you mean make?"),
        ("nothing", "has no nothing"),
        ("__builtins__", "does not define __builtins__ itself, with def or class"),
        ("system", "does not define system itself, with def or class"),
        ("remove", "does not define remove itself, with def or class"),
        ("partial", "does not define partial itself, with def or class"),
        ("shifted", "does not define shifted itself, with def or class"),
        ("number", "does not define number itself, with def or class"),
    ],
)
def test_only_what_the_file_defines_can_be_called(call: Call, name: str, problem: str) -> None:
    """`from os import system` in a file must not let a stranger's configuration call it with args of its choice."""
    with pytest.raises(RequestError) as caught:
        call(name, {"command": "true"})
    assert str(caught.value) == f"nets.py:{name}: nets.py {problem}\n  it defines: make, Net, loss, spoil, renamed"


@pytest.mark.usefixtures("call")
def test_what_is_not_allowed_is_not_even_loaded() -> None:
    Path("evil.py").write_text("import pathlib; pathlib.Path('it ran').touch()\ndef make(): pass\n")
    Path("link.py").symlink_to("evil.py")
    for target in ("evil.py:make", "./evil.py:make", "link.py:make", "evil:make", "nope.py:make"):
        config = Own(name="own", target=target)
        for allowed in (NOBODY, parse_allowed(["nets.py"]), Allowed(modules=frozenset({"nets"}))):
            with pytest.raises(RequestError):
                load_target(config.target, config.args, allowed)
            with pytest.raises(RequestError):
                hash_files(config.target, allowed)
    assert not Path("it ran").exists()
    load_target("link.py:make", {}, parse_allowed(["evil.py"]))
    assert Path("it ran").exists()  # this is what it would have done


@pytest.fixture(name="package")
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package on Python's path, under a name of this test's own."""
    folder = tmp_path / f"pack_{tmp_path.name.replace('-', '_')}"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("from .inner.nets import make\n")
    (folder / "inner" / "__init__.py").write_text("")
    (folder / "inner" / "nets.py").write_text("from shutil import rmtree\ndef make(depth=1):\n    return depth\n")
    (folder / "broken.py").write_text("x = 1\nimport no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_modules_by_name_and_packages_with_all_that_is_in_them(package: Path) -> None:
    name = package.name
    for target, option, there in (
        (f"{name}.inner.nets:make", f"{name}.inner.nets", True),
        (f"{name}.inner.nets:make", name, True),
        (f"{name}:make", name, True),  # defined in a module of the package
        (f"{name}:make", f"{name}.inner", False),
        (f"{name}.inner.nets:rmtree", name, False),
        (f"{name}.inner.nets:rmtree", f"{name}.inner.nets", False),
    ):
        config = Own(name="own", target=target, args={"depth": 4} if target.endswith("make") else {"path": "x"})
        if there:
            assert load_target(config.target, config.args, parse_allowed([option]))() == 4
        else:
            with pytest.raises(RequestError, match=target):
                load_target(config.target, config.args, parse_allowed([option]))
    files = hash_files(f"{name}.inner.nets:make", parse_allowed([name]))
    assert [Path(file).name for file in files] == ["nets.py"]


def test_modules_that_are_not_there_or_fail(package: Path) -> None:
    for module, missing in (("no_such_pack.nets", "no_such_pack"), (f"{package.name}.nope", f"{package.name}.nope")):
        with pytest.raises(RequestError, match=f"^{module}: Python finds no module {missing}\n  install it"):
            load_target(f"{module}:make", {}, parse_allowed([module]))
    broken = f"{package.name}.broken"
    with pytest.raises(WorkError, match=r"ModuleNotFoundError: No module named 'no_such_library'"):
        load_target(f"{broken}:make", {}, parse_allowed([broken]))


@pytest.mark.parametrize("target", ["os:system", "builtins:exec", "builtins:eval", "shutil:nothing"])
def test_builtin_functions_are_no_targets(target: str) -> None:
    module = target.partition(":")[0]
    with pytest.raises(RequestError):
        load_target(target, {"command": "true"}, parse_allowed([module]))
