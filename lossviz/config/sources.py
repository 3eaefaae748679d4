"""Where a value was written: on the command line, in a variant, or in the rest of the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from lossviz.config.document import Document, parse, reason
from lossviz.config.problems import Keys, Problem
from lossviz.errors import RequestError
from lossviz.files import shown


@dataclass(frozen=True)
class Setting:
    """One `--set a.b=value`."""

    text: str
    tree: dict[str, Any]

    def wrote(self, keys: Sequence[str | int]) -> bool:
        """Whether the value under a path of keys, or one around or inside it, came from here."""
        node: object = self.tree
        for key in keys:
            if not isinstance(node, Mapping):
                return True
            if key not in node:
                return False
            node = node[key]
        return True


def parse_setting(text: str) -> Setting:
    """Read one `a.b=value`.

    Raises:
        RequestError: it is not of that form, or chooses what the command line chooses otherwise.
    """
    name, equals, value = text.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not equals or not all(keys):
        raise RequestError(f"--set {text}: is not of the form key.key=value, such as --set train.lr=0.05")
    if keys[0] in ("variant", "siblings"):
        raise RequestError(f"--set {text}: {keys[0]} is filled in from variants; choose with --variant NAME")
    try:
        _, nested = parse(value)
    except (yaml.MarkedYAMLError, ValueError) as error:
        raise RequestError(
            f"--set {text}: {reason(error)}\n  accepted: a value in YAML, such as --set 'surface.x=[-1, 1, 25]'"
        ) from error
    for key in reversed(keys):
        nested = {key: nested}
    return Setting(text, nested)


@dataclass(frozen=True)
class Sources:
    """A file and the settings of the command line."""

    document: Document
    settings: Sequence[Setting]

    def place(self, *keys: str | int) -> str:
        """Where a value stands that stands once."""
        return self._setting([keys]) or self._line([keys], "") or shown(self.document.path)

    def located(self, problem: Problem, variant: str) -> Problem:
        """The problem with its place; what wins over the others is asked first."""
        wanted = [keys for keys in (problem.keys, *problem.also) if keys]
        around = [problem.keys[:length] for length in range(len(problem.keys) - 1, 0, -1)]
        inside, around_inside = ([("variants", variant, *keys) for keys in each] for each in (wanted, around))
        note = f" (variant {variant})"
        return problem.at(
            self._setting(wanted)
            or self._setting(inside)
            or self._line(inside, note)
            or self._line(wanted, "")
            or self._line(around_inside, note)
            or self._line(around, "")
            or shown(self.document.path)
        )

    def _setting(self, candidates: Sequence[Keys]) -> str:
        for setting in reversed(self.settings):
            if any(setting.wrote(keys) for keys in candidates):
                return f"--set {setting.text}"
        return ""

    def _line(self, candidates: Sequence[Keys], note: str) -> str:
        for keys in candidates:
            line = self.document.line(keys)
            if line is not None:
                return f"{shown(self.document.path)}, line {line}{note}"
        return ""
