"""The pages of the examples: short, with the code that the tests run, and listed with an honest count."""

import re
from pathlib import Path

import pytest

from tests.examples.example import EXAMPLES, FOLDERS, code_of, fenced, own_lines

INDEX = (EXAMPLES / "README.md").read_text(encoding="utf-8")
MOST_LINES, MOST_BYTES = 15, 60_000


def name_of(folder: Path) -> str:
    return folder.name


def test_lines_are_counted_without_imports_comments_and_blanks() -> None:
    assert (
        own_lines('"""Doc."""\n\nimport os\nfrom a import (\n    b,\n)\n\n# why\nx = 1\n\ndef f():\n    return x\n')
        == 3
    )


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_the_code_is_short_and_the_index_says_how_short(folder: Path) -> None:
    page = folder / "README.md"
    first, *others = fenced(page, "python")
    text = code_of(folder).read_text(encoding="utf-8")
    assert first == text[text.index("\n\n") + 2 :]  # all but the docstring
    count = own_lines(text) + sum(map(own_lines, others))
    assert count <= MOST_LINES
    (row,) = re.findall(rf"^\|[^|]*\({folder.name}/README\.md\).*\| *(\d+) *\|", INDEX, re.MULTILINE)
    assert int(row) == count


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_the_page_is_short_and_has_a_small_figure(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert 20 <= len(text.splitlines()) <= 60
    (figure,) = folder.glob("*.png")
    assert f"]({figure.name})" in text and figure.stat().st_size < MOST_BYTES
