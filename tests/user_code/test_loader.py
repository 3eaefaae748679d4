"""A person's file runs once, as itself, beside its neighbours; what goes wrong in it is told by its line."""

import hashlib
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lossviz.errors import RequestError, WorkError
from lossviz.user_code.loader import explained, load_file


@pytest.fixture(autouse=True)
def _as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lossviz.user_code.loader._neighbours", {})
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file.resolve()


def test_a_file_runs_once() -> None:
    path = write("once.py", "import pathlib\nwith pathlib.Path('log').open('a') as log:\n    log.write('x')\n")
    assert load_file(path) is load_file(path)
    assert Path("log").read_text() == "x"


def test_files_of_one_name_are_different_modules() -> None:
    first, second = (load_file(write(f"{folder}/nets.py", f"def where(): return '{folder}'\n")) for folder in "ab")
    assert (first.module.where(), second.module.where()) == ("a", "b")
    assert first.module.__name__ != second.module.__name__
    assert "nets" not in sys.modules
    for code in (first, second):
        assert sys.modules[code.module.__name__] is code.module
        assert code.module.__name__.isidentifier()  # torch.compile makes variables of it
        assert code.module.where.__module__ == code.module.__name__


def test_what_runs_is_the_text_and_not_a_cache_beside_it() -> None:
    path = write("nets.py", "value = 'evil'\n")
    cached = py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert cached
    write("nets.py", "value = 'good'\n")
    assert load_file(path).module.value == "good"


def test_neighbours_may_be_imported_and_do_not_collide() -> None:
    before = list(sys.path)
    texts = "import helper\nfrom pack.inner import value as inner\nvalue = helper.value\n"
    made = []
    for folder in "ab":
        helper = write(f"{folder}/helper.py", f"value = '{folder}'\n")
        write(f"{folder}/pack/__init__.py", "")
        write(f"{folder}/pack/inner.py", f"value = '{folder}{folder}'\n")
        made.append(load_file(write(f"{folder}/nets.py", texts)))
        assert made[-1].files[str(helper)] == hashlib.sha256(helper.read_bytes()).hexdigest()
    assert [(code.module.value, code.module.inner) for code in made] == [("a", "aa"), ("b", "bb")]
    assert sys.path == before
    # A second file of a folder sees what the first saw, not a copy.
    again = load_file(write("a/data.py", "import helper\n"))
    assert again.module.helper is made[0].module.helper


def test_neighbours_of_a_second_file_do_not_collide_either() -> None:
    values = []
    for folder in "ab":
        for name in ("__init__", "early", "late"):
            write(f"{folder}/pack/{name}.py", f"value = '{folder}'\n")
        load_file(write(f"{folder}/nets.py", "import pack.early\n"))
        values.append(load_file(write(f"{folder}/data.py", "from pack.late import value\n")).module.value)
    assert values == ["a", "b"]


def test_a_neighbour_of_another_folder_is_not_found() -> None:
    write("a/helper_of_a.py", "")
    load_file(write("a/nets.py", "import helper_of_a\n"))
    with pytest.raises(WorkError, match=r"b/nets\.py, line 1, .*No module named 'helper_of_a'"):
        load_file(write("b/nets.py", "import helper_of_a\n"))


def test_no_neighbour_stands_in_for_a_library() -> None:
    sys.modules.pop("colorsys", None)
    write("colorsys.py", "raise AssertionError('the wrong one')\n")
    assert load_file(write("nets.py", "import colorsys\n")).module.colorsys.__file__ != str(
        Path("colorsys.py").resolve()
    )


def test_what_is_drawn_while_loading_is_the_same_every_time() -> None:
    texts = "import torch\nvalue = torch.rand(3).tolist()\n"
    torch.manual_seed(1)
    first = load_file(write("a.py", texts)).module.value
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert load_file(write("b.py", texts)).module.value == first
    assert torch.equal(torch.get_rng_state(), state)


def test_files_and_their_hashes() -> None:
    path = write("nets.py", "import os\n")
    assert load_file(path).files == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\nraise ValueError('not today\\nmore')\n", 2, "ValueError: not today"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("x = (1,\ny = 2\n", 1, "SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(0)\n", 2, "SystemExit: 0"),
        ("assert False\n", 1, "AssertionError\n"),
        ("\nfrom . import x\n", 2, "ImportError: attempted relative import with no known parent package"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError: Expecting property name"),
    ],
)
def test_what_fails_is_told_by_file_line_and_exception(text: str, line: int, reason: str) -> None:
    path = write("nets.py", text)
    before = set(sys.modules)
    with pytest.raises(WorkError) as caught:
        load_file(path)
    assert str(caught.value).startswith(f"nets.py, line {line}, while nets.py is loaded: {reason}")
    assert str(caught.value).endswith("\n  --debug shows the whole traceback")
    assert caught.value.__cause__ is not None
    assert not [name for name in set(sys.modules) - before if name.startswith("own_")]


def test_a_file_that_cannot_be_read_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match=r"folder\.py: cannot be read"):
        Path("folder.py").mkdir()
        load_file(Path("folder.py").resolve())


def test_errors_of_a_person_s_code_are_told_apart_from_ours() -> None:
    module = load_file(write("nets.py", "def f(call):\n    return call()\n")).module

    def ours() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError), explained():
        ours()
    with pytest.raises(WorkError, match=r"^nets\.py, line 2: KeyError: 'ours'\n"), explained():
        module.f(ours)
    with pytest.raises(WorkError, match=r"^while it works: KeyError"), explained("while it works"):
        ours()
    with pytest.raises(RequestError, match=r"^as it is$"), explained("while it works"):
        raise RequestError("as it is")
    with pytest.raises(KeyboardInterrupt), explained("while it works"):
        raise KeyboardInterrupt


def test_what_is_loaded_leaves_no_files_behind() -> None:
    load_file(write("nets.py", "x = 1\n"))
    assert [path.name for path in Path().iterdir()] == ["nets.py"]
