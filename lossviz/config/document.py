"""A YAML file as plain values, and the line on which each of them was written.

PyYAML composes the nodes; the values are made here, because both it and ruamel.yaml make more of them than a
configuration has: dates, sets, keys that are numbers, objects, trees that contain themselves.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lossviz.errors import Keys, Refusal, RequestError, refuse
from lossviz.files import check_text, read, shown

DEEPEST = 50
# Aliases of aliases (`b: [*a, *a]`) make any number of values out of a few lines.
MOST = 100_000
_PLAIN = "plain"
_TAGS = {
    yaml.ScalarNode: (_PLAIN, "str", "int", "float", "bool", "null"),
    yaml.SequenceNode: ("seq",),
    yaml.MappingNode: ("map",),
}
# The plain values of YAML 1.2: 1e-3 is a number, and `no`, 1:30 and 2024-01-01 are text.
_SCALARS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("|~|null|Null|NULL", lambda _: None),
    ("true|True|TRUE", lambda _: True),
    ("false|False|FALSE", lambda _: False),
    ("[-+]?(0|[1-9][0-9_]*)", lambda text: int(text.replace("_", ""))),
    ("0x[0-9a-fA-F]+", lambda text: int(text, 16)),
    (r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", float),
    (r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", lambda text: float(text.replace(".", ""))),
)


class _Loader(yaml.SafeLoader):
    """Leaves every plain scalar as it was written."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(_PLAIN, re.compile(""), None)


class Dumper(yaml.SafeDumper):
    """Quotes text that any reader of YAML, of 1.1 or 1.2, would take for something else."""


Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


class UnreadableError(Exception):
    """A text is not YAML, or YAML that a configuration does without.

    Args:
        problem: why.
        line: where, from 1, if known.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True)
class Document:
    """The content of one configuration file; `lines` has the line (from 1) of every path of keys."""

    path: Path
    tree: dict[str, Any]
    lines: Mapping[Keys, int]


def open_document(path: Path) -> Document:
    """Read a configuration file.

    Raises:
        RequestError: it is missing, is not UTF-8 or YAML, repeats a key, or is not a mapping.
        WorkError: lossviz wrote it, and it was cut short or altered since.
    """
    try:
        content = read(path)
        check_text(path, content)
        tree, lines = parse(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RequestError(Refusal(shown(path), "is not a text file in UTF-8")) from error
    except UnreadableError as error:
        line = f", line {error.line}" if error.line else ""
        raise RequestError(Refusal(f"{shown(path)}{line}", str(error))) from error
    if not isinstance(tree, dict):
        refuse(shown(path), "is not a mapping of keys such as `name:`, `data:` and `model:`")
    return Document(path, tree, lines)


def parse(text: str) -> tuple[Any, dict[Keys, int]]:
    """YAML as plain values (`1e-3`, `[1, 2]`, `{kind: cosine}`), and the line of each by its path of keys.

    Keys are text as it was written, so a variant may be called 1e-3.

    Raises:
        UnreadableError: it is not YAML, repeats a key, is nested without end, or holds what is not text or a number.
    """
    lines: dict[Keys, int] = {}
    try:
        root = yaml.compose(text, _Loader)
        tree = None if root is None else _value(root, (), lines)
        json.dumps(tree, ensure_ascii=False).encode()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UnreadableError(f"is not text: holds the character U+{error.character:04X}", line) from error
    except yaml.MarkedYAMLError as error:
        raise _explained(error) from error
    except UnicodeEncodeError as error:
        raise UnreadableError("is not text: an escape such as \\ud800 stands for no character") from error
    except RecursionError as error:
        raise UnreadableError(f"is nested more than {DEEPEST} deep, or contains itself") from error
    except ValueError as error:
        raise UnreadableError("holds a number of too many digits") from error
    return tree, lines


def _explained(error: yaml.MarkedYAMLError) -> UnreadableError:
    problem, mark = str(error.problem), error.problem_mark
    if "'\\t'" in problem:
        problem = "indent by spaces, not by tabs"
    elif "'<stream end>'" in problem or "unexpected end of stream" in problem:
        problem, mark = "a bracket or quote is opened and not closed", error.context_mark
    elif error.context and problem.startswith("but"):
        problem = f"{error.context}, {problem}"
    return UnreadableError(f"is not YAML: {problem}", mark.line + 1 if mark else None)


def _value(node: yaml.Node, keys: Keys, lines: dict[Keys, int]) -> object:
    """The plain value of a node; adds the lines of all that it contains."""
    if len(keys) > DEEPEST:
        raise RecursionError
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    if tag not in _TAGS[type(node)]:
        written = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise UnreadableError(f"the tag {written} is not read; write plain values, lists and mappings", _line(node))
    if isinstance(node, yaml.ScalarNode):
        made = (make for pattern, make in _SCALARS if tag != "str" and re.fullmatch(pattern, node.value))
        return next(made, str)(node.value)
    if isinstance(node, yaml.MappingNode):
        return {key: _inside(value, name, (*keys, key), lines) for key, (name, value) in _entries(node).items()}
    return [_inside(value, value, (*keys, place), lines) for place, value in enumerate(node.value)]


def _inside(node: yaml.Node, name: yaml.Node, keys: Keys, lines: dict[Keys, int]) -> object:
    if len(lines) == MOST:
        raise UnreadableError(f"holds more than {MOST:,} values")
    lines[keys] = _line(name)
    return _value(node, keys, lines)


def _entries(node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """The nodes of keys and values by key; those that `<<` merges in come first, and give way to the mapping's own."""
    own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode):
            raise UnreadableError("a key must be text, not a list or mapping", _line(name))
        if name.value in own:
            raise UnreadableError(f"the key {name.value} stands twice in the same mapping; keep one", _line(name))
        own[name.value] = name, value
    merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    if "<<" in own and own["<<"][0].tag == _PLAIN:
        _, value = own.pop("<<")
        for each in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(each, yaml.MappingNode):
                raise UnreadableError("<< merges mappings, and this is none", _line(each))
            merged |= _entries(each)
    return merged | own


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
