"""Whose code may run: what `--allow` names, by resolved path or by package, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from lossviz.errors import RequestError
from lossviz.user_code.permissions import NOBODY, Allowed, Target, parse_allowed, parse_target


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("", "other", "other/deep"):
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "nets.py").write_text("")
    Path("link.py").symlink_to("nets.py")
    Path("folder_link").symlink_to("other")


@pytest.mark.parametrize(
    ("text", "source", "name", "in_file"),
    [
        ("nets.py:make", "nets.py", "make", True),
        ("a b/../nets.py:Net", "a b/../nets.py", "Net", True),
        ("/abs/nets.py:_make", "/abs/nets.py", "_make", True),
        ("pkg.nets:make", "pkg.nets", "make", False),
        ("pkg:make", "pkg", "make", False),
    ],
)
def test_a_target_is_a_place_and_a_name(text: str, source: str, name: str, in_file: bool) -> None:
    assert parse_target(text) == Target(source, name)
    assert parse_target(text).in_file is in_file


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "make", "nets.py", "nets.py:", ":make", "nets.py:a.b", "nets.py:a()", "a/b:make", "a..b:make"),
        *("a:b:make", "nets.py:make\n", "ne\0ts.py:make", "C:nets.py:make", "pkg.nets :make"),
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form FILE\.py:NAME or package\.module:NAME"):
        parse_target(text)


@pytest.mark.parametrize(
    ("option", "source", "permitted"),
    [
        ("nets.py", "nets.py", True),
        ("./nets.py", "nets.py", True),
        ("nets.py", "other/../nets.py", True),
        ("nets.py", "link.py", True),
        ("link.py", "nets.py", True),
        ("other/nets.py", "folder_link/nets.py", True),
        # another file of that name, however it is spelt
        ("nets.py", "other/nets.py", False),
        ("nets.py", "folder_link/nets.py", False),
        # a link is followed before `..`, so this is other/nets.py
        ("nets.py", "folder_link/deep/../nets.py", False),
        ("other/nets.py", "other/deep/nets.py", False),
        # a file is not a module and a module not a file
        ("nets.py", "nets", False),
        ("nets", "nets.py", False),
        ("nets", "nets", True),
        ("pkg", "pkg.nets.deep", True),
        ("pkg.nets", "pkg.nets", True),
        ("pkg.nets", "pkg", False),
        ("pkg.nets", "pkg.nets2", False),
        ("pkg", "pkg2", False),
        ("nets", "pkg.nets", False),
    ],
)
def test_what_an_option_permits(option: str, source: str, permitted: bool) -> None:
    allowed = parse_allowed([option])
    assert allowed.permits(source) is permitted
    assert (allowed.refusal(f"{source}:make") is None) is permitted
    assert not NOBODY.permits(source)


def test_absolute_paths_and_working_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path.cwd()
    allowed = parse_allowed(["nets.py"])
    assert allowed.permits(str(here / "nets.py"))
    monkeypatch.chdir("other")
    # The option meant the file of its own time; in here the same words mean another.
    assert not allowed.permits("nets.py")
    assert allowed.permits("../nets.py")


def test_several_options_add_up() -> None:
    allowed = parse_allowed(["nets.py", "pkg", "other/nets.py"])
    assert allowed == Allowed(
        frozenset({Path("nets.py").resolve(), Path("other/nets.py").resolve()}), frozenset({"pkg"})
    )
    assert hash(allowed) == hash(parse_allowed(["pkg", "other/nets.py", "nets.py"]))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nope.py", "--allow nope.py: there is no such file"),
        ("folder.py", "--allow folder.py: there is no such file"),
        ("circle.py", "--allow circle.py: there is no such file"),
        ("x" * 300 + ".py", f"--allow {'x' * 300}.py: there is no such file"),
        ("my-nets", "--allow my-nets: is neither FILE.py nor package.module"),
        ("", "--allow : is neither FILE.py nor package.module"),
        ("*", "--allow *: is neither FILE.py nor package.module"),
        ("other/", "--allow other/: is neither FILE.py nor package.module"),
        (
            "nets.py:make",
            "--allow nets.py:make: is neither FILE.py nor package.module; name the file or module alone: nets.py",
        ),
    ],
)
def test_an_option_that_names_nothing_is_refused(option: str, message: str) -> None:
    Path("folder.py").mkdir()
    Path("circle.py").symlink_to("circle.py")
    with pytest.raises(RequestError) as caught:
        parse_allowed([option])
    assert str(caught.value) == message


def test_a_refusal_says_the_option_to_add() -> None:
    Path("my nets.py").write_text("")
    for source, option in (("nets.py", "nets.py"), ("my nets.py", "'my nets.py'"), ("pkg.nets", "pkg.nets")):
        refusal = NOBODY.refusal(f"{source}:make")
        assert refusal
        assert refusal.subject == f"{source}:make"
        assert refusal.advice == f"if you trust what is in {source}, add --allow {option}"
    assert str(NOBODY.refusal("nope.py:make")).startswith("nope.py:make: there is no file nope.py\n")


def test_deciding_imports_nothing_of_torch() -> None:
    check = (
        "import sys, lossviz.user_code.permissions, lossviz.run; print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(sys.modules["lossviz"].__file__ or "").parents[1])}
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False False\n"
