"""A YAML file as a tree of plain values that still knows on which line each value stands."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lossviz.errors import RequestError
from lossviz.files import read, shown

DEEPEST = 50
PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")


class Refused(yaml.MarkedYAMLError):
    """YAML that a configuration does without."""


class Loader(yaml.SafeLoader):
    """YAML with the plain values of YAML 1.2: 1e-3 is a number, and `no`, 1:30 and 2024-01-01 are text.

    Keys are text as it was written, so a variant may be called 1e-3.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Merge `<<`, then take every key as text."""
        self.flatten_mapping(node)
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise Refused(problem="a key must be text, not a list or mapping", problem_mark=key.start_mark)
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _refuse_tag(_: Loader, node: yaml.Node) -> None:
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    raise Refused(
        problem=f"the tag {tag} is not read; write plain values, lists and mappings", problem_mark=node.start_mark
    )


# Declared here, and not inherited: tables of PyYAML that hold more than plain values.
Loader.yaml_implicit_resolvers = {}
Loader.yaml_constructors = {
    f"tag:yaml.org,2002:{name}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{name}"] for name in PLAIN
}
Loader.add_constructor(None, _refuse_tag)
for _name, _pattern, _first in (
    ("null", r"|~|null|Null|NULL", ["", "~", "n", "N"]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first)


class Dumper(yaml.SafeDumper):
    """Quotes text that any reader of YAML, of 1.1 or 1.2, would take for something else."""


Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class Document:
    """The content of one configuration file."""

    path: Path
    tree: dict[str, Any]
    root: yaml.Node

    def line(self, keys: Sequence[str | int]) -> int | None:
        """Line (from 1) on which the value under a path of keys begins, None where the file has none."""
        node, line = self.root, None
        for key in keys:
            child = _child(node, key)
            if child is None:
                return None
            node, line = child
        return line


def open_document(path: Path) -> Document:
    """Read a configuration file.

    Raises:
        RequestError: it is missing, is not UTF-8 or YAML, repeats a key, or is not a mapping.
    """
    try:
        text = read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{shown(path)}: is not a text file in UTF-8") from error
    try:
        root, tree = parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark if _unclosed(error) else error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise RequestError(f"{shown(path)}{line}: {reason(error)}") from error
    except ValueError as error:
        raise RequestError(f"{shown(path)}: {error}") from error
    if root is None or not isinstance(tree, dict):
        raise RequestError(f"{shown(path)}: is not a mapping of keys such as `name:`, `data:` and `model:`")
    return Document(path, tree, root)


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """YAML as a tree of nodes and a tree of plain values: `1e-3`, `[1, 2]`, `{kind: cosine}`.

    Raises:
        yaml.MarkedYAMLError: it is not YAML, or repeats a key.
        ValueError: it is nested without end, or holds what is not text or not a number.
    """
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None, None
        _check(root, 0)
        tree = loader.construct_document(root)
        json.dumps(tree, ensure_ascii=False).encode()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"is not text: line {line} holds the character U+{error.character:04X}") from error
    except UnicodeEncodeError as error:
        raise ValueError("is not text: an escape such as \\ud800 stands for no character") from error
    except RecursionError as error:
        raise ValueError(f"is nested more than {DEEPEST} deep, or contains itself") from error
    except ValueError as error:
        raise ValueError("holds a number of too many digits") from error
    return root, tree


def reason(error: ValueError | yaml.MarkedYAMLError) -> str:
    """Why `parse` refused, without the place."""
    if isinstance(error, Refused | ValueError):
        return str(error.problem if isinstance(error, Refused) else error)
    if "'\\t'" in str(error.problem):
        return "is not YAML: indent by spaces, not by tabs"
    if _unclosed(error):
        return "is not YAML: a bracket or quote is opened and not closed"
    context = f"{error.context}, " if error.context and str(error.problem).startswith("but") else ""
    return f"is not YAML: {context}{error.problem}"


def _unclosed(error: yaml.MarkedYAMLError) -> bool:
    return "'<stream end>'" in str(error.problem) or "unexpected end of stream" in str(error.problem)


def _check(node: yaml.Node, depth: int) -> None:
    """Refuse repeated keys, of which YAML would keep the last, and nesting without end (`&a [*a]`)."""
    if depth > DEEPEST:
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in seen:
                problem = f"the key {name.value} stands twice in the same mapping; keep one"
                raise Refused(problem=problem, problem_mark=name.start_mark)
            seen.add(name.value if isinstance(name, yaml.ScalarNode) else None)
            _check(value, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check(value, depth + 1)


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        # The last wins: what `<<` merged in stands first.
        for name, value in reversed(node.value):
            if name.value == str(key):
                return value, name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark.line + 1
    return None
