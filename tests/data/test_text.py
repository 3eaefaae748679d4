"""Text as sequences of bytes."""

from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

from lossviz.config.data import Text
from lossviz.data.text import help_pages, text
from lossviz.errors import RequestError


def write(folder: Path, content: bytes) -> str:
    (folder / "a.txt").write_bytes(content)
    return str(folder / "a.txt")


def test_by_hand(tmp_path: Path) -> None:
    """25 bytes in sequences of 4: six, of which the last is the test set."""
    content = bytes(range(100, 125))
    parts = text(Text(name="text", path=write(tmp_path, content), context=4))
    inputs, targets = parts["train"]
    assert inputs.tolist()[0] == [100, 101, 102, 103]
    assert targets.tolist()[0] == [101, 102, 103, 104]
    assert inputs.tolist()[4] == [116, 117, 118, 119]
    assert [part.tolist() for part in parts["test"]] == [[[120, 121, 122, 123]], [[121, 122, 123, 124]]]
    assert {each.dtype for part in parts.values() for each in part} == {torch.int64}


def test_every_byte_but_the_first_is_predicted_once() -> None:
    parts = text(Text(name="text", context=50))
    pages = help_pages()
    together = torch.cat([parts[name][1].flatten() for name in ("train", "test")])
    assert bytes(together.tolist()) == pages[1 : len(together) + 1]
    assert len(pages) - 1 - len(together) < 50
    assert len(parts["test"][0]) == (len(pages) - 1) // 50 // 10


def test_the_help_pages_are_python_s() -> None:
    pages = help_pages().decode()
    assert all(page in pages for page in topics.values())
    assert 300_000 < len(pages) < 1_000_000


def test_a_text_that_is_too_short_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"12345678")
    with pytest.raises(RequestError, match=r"a\.txt: has 8 bytes, .*\n  accepted: 9 bytes or more"):
        text(Text(name="text", path=path, context=4))
    assert len(text(Text(name="text", path=write(tmp_path, b"123456789"), context=4))["train"][0]) == 1


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"none\.txt: cannot be read"):
        text(Text(name="text", path=str(tmp_path / "none.txt")))
