"""A YAML file as a tree of plain values that still knows on which line each value stands."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lossviz.errors import RequestError


class Loader(yaml.SafeLoader):
    """YAML 1.1, except that 1e-3 is a number, as in YAML 1.2 and as everybody expects."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
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


def parse_value(text: str) -> Any:
    """A value as it would stand in a configuration file: `1e-3`, `[1, 2]`, `{kind: cosine}`."""
    return yaml.load(text, Loader)


def open_document(path: Path) -> Document:
    """Read a configuration file.

    Raises:
        RequestError: it is missing, is not UTF-8 or YAML, repeats a key, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader)
        tree = parse_value(text)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: is not a text file in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise RequestError(f"{path}{where}: is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise RequestError(f"{path}: is not YAML: {error}") from error
    if root is None or not isinstance(tree, dict):
        raise RequestError(f"{path}: is not a mapping of keys such as `name:`, `data:` and `model:`")
    for name, line in _repeated_keys(root):
        raise RequestError(f"{path}, line {line}: the key {name} stands twice in the same mapping; keep one")
    return Document(path, tree, root)


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return value, name.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark.line + 1
    return None


def _repeated_keys(node: yaml.Node) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for name, value in node.value:
            if name.value in seen:
                yield name.value, name.start_mark.line + 1
            seen.add(name.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)
