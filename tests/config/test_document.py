"""YAML files: what is read as what, on which line it stands, and what is not a configuration."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from lossviz.config.document import Document, Dumper, open_document, parse
from lossviz.errors import RequestError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.e-3", 0.001),
        ("+.5e1", 5.0),
        ("-2.5", -2.5),
        ("5.0e-4", 0.0005),
        ("1.", 1.0),
        ("0", 0),
        ("-7", -7),
        ("1_000", 1000),
        ("0x1F", 31),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        # YAML 1.1 would make of these: true, false, 90, 8, a date, a date that does not exist
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("2024-01-01", "2024-01-01"),
        ("2001-99-99", "2001-99-99"),
        ("=", "="),
        ("1e", "1e"),
        ("e5", "e5"),
        ("'1e-3'", "1e-3"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_plain_values(text: str, value: object) -> None:
    read, _ = parse(text)
    assert read == value
    assert type(read) is type(value)


def test_keys_are_text_as_written() -> None:
    read, _ = parse("{1e-3: a, 0.10: b, yes: c, ~: d, 2024-01-01: e, 1: f}")
    assert list(read) == ["1e-3", "0.10", "yes", "~", "2024-01-01", "1"]


def test_anchors_and_merge_keys() -> None:
    read, _ = parse("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\nd:\n  <<: [*a, {z: 4}]\n")
    assert read["b"] == {"x": 1, "y": 2}
    assert read["c"] == {"x": 1, "y": 3}
    assert read["d"] == {"x": 1, "y": 2, "z": 4}


@pytest.mark.parametrize(
    "text", ["1e-3", "0x1F", "yes", "no", "1:30", "010", "2024-01-01", "null", "", "=", "<<", "1_0"]
)
def test_dumped_text_stays_text_for_every_reader(text: str) -> None:
    dumped = yaml.dump({"key": text}, Dumper=Dumper)
    assert parse(dumped)[0] == {"key": text}
    assert yaml.safe_load(dumped) == {"key": text}


def document(folder: Path, text: str) -> Document:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return open_document(path)


def test_lines(tmp_path: Path) -> None:
    section = "train:\n  lr: 1\n  schedule: {kind: step,\n    milestones: [1,\n     2]}\n"
    text = f"name: a\n{section}variants:\n  1e-3: {{seed: 1}}\n"
    found = document(tmp_path, text)
    assert found.lines == {
        ("name",): 1,
        ("train",): 2,
        ("train", "lr"): 3,
        ("train", "schedule"): 4,
        ("train", "schedule", "kind"): 4,
        ("train", "schedule", "milestones"): 5,
        ("train", "schedule", "milestones", 0): 5,
        ("train", "schedule", "milestones", 1): 6,
        ("variants",): 7,
        ("variants", "1e-3"): 8,
        ("variants", "1e-3", "seed"): 8,
    }


def test_the_line_of_a_merged_key_is_that_of_the_value_that_counts(tmp_path: Path) -> None:
    found = document(tmp_path, "a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  y: 3\n")
    assert found.tree["b"] == {"x": 1, "y": 3}
    assert found.lines["b", "x"] == 2
    assert found.lines["b", "y"] == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *[
            (text, ": is not a mapping of keys such as `name:`, `data:` and `model:`")
            for text in ("", "# nothing\n", "---\n", "null\n", "- a\n", "just text\n", "3\n")
        ],
        ("a: 1\nb: [1\nc: 2\n", ", line 3: is not YAML: expected ',' or ']', but got ':'"),
        ("a: 1\nb: [1, 2\n", ", line 2: is not YAML: a bracket or quote is opened and not closed"),
        ("a: 1\nb: 'text\nc: 1\n", ", line 2: is not YAML: a bracket or quote is opened and not closed"),
        ("a: 1\n\tb: 2\n", ", line 2: is not YAML: indent by spaces, not by tabs"),
        (
            "a: 1\n---\nb: 1\n",
            ", line 2: is not YAML: expected a single document in the stream, but found another document",
        ),
        ("a: *nowhere\n", ", line 1: is not YAML: found undefined alias 'nowhere'"),
        ("a: 1\nb: 2\na: 3\n", ", line 3: the key a stands twice in the same mapping; keep one"),
        ("a: 1\n'a': 3\n", ", line 2: the key a stands twice in the same mapping; keep one"),
        ("b: [{a: 1,\n a: 3}]\n", ", line 2: the key a stands twice in the same mapping; keep one"),
        ("b: 1\n? [a, b]\n: 3\n", ", line 2: a key must be text, not a list or mapping"),
        ("b: 1\n? {a: b}\n: 3\n", ", line 2: a key must be text, not a list or mapping"),
        ("a: &a [*a]\n", ": is nested more than 50 deep, or contains itself"),
        ("a: &a {b: *a}\n", ": is nested more than 50 deep, or contains itself"),
        ("a: " + "[" * 5000 + "]" * 5000, ": is nested more than 50 deep, or contains itself"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, ": is nested more than 50 deep, or contains itself"),
        (
            "a: &a [1]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnop")),
            ": holds more than 100,000 values",
        ),
        ("a: 1\nb: \x07\n", ", line 2: is not text: holds the character U+0007"),
        ('a: "\\ud800"\n', ": is not text: an escape such as \\ud800 stands for no character"),
        ("a: " + "9" * 5000, ": holds a number of too many digits"),
        *[
            (f"a: 1\nb: {tag} x\n", f", line 2: the tag {tag} is not read; write plain values, lists and mappings")
            for tag in (
                "!!python/name:os.system",
                "!!python/object/apply:os.system",
                "!!binary",
                "!mine",
                "!!timestamp",
            )
        ],
        ("b: !!set {x, y}\n", ", line 1: the tag !!set is not read; write plain values, lists and mappings"),
    ],
)
def test_what_is_not_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError) as caught:
        document(tmp_path, text)
    assert str(caught.value) == "c.yaml" + message


@pytest.mark.parametrize("content", [b"name: \xff\n", "name: é\n".encode("utf-16"), "name: é\n".encode("latin-1")])
def test_not_utf8(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"c\.yaml: is not a text file in UTF-8$"):
        open_document(path)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfname: a\nseed: 1\n", b"name: a\r\nseed: 1\r\n"])
def test_files_of_other_systems(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    found = open_document(path)
    assert found.tree == {"name": "a", "seed": 1}
    assert found.lines[("seed",)] == 2


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"c\.yaml: cannot be read: No such file or directory$"):
        open_document(tmp_path / "c.yaml")
