"""Where a value was written: on the command line, in a variant, or in the rest of the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossviz.config.document import Document, UnreadableError, parse
from lossviz.config.merging import spell_out
from lossviz.errors import Keys, Refusal, RequestError, refuse
from lossviz.files import shown


@dataclass(frozen=True)
class Setting:
    """One `--set a.b=value`, with the tags that it leaves out."""

    text: str
    tree: dict[str, Any]

    def wrote(self, keys: Keys) -> bool:
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
        refuse(f"--set {text}", "is not of the form key.key=value, such as --set train.lr=0.05")
    if keys[0] in ("variant", "siblings"):
        refuse(f"--set {text}", f"{keys[0]} is filled in from variants; choose with --variant NAME")
    try:
        nested, _ = parse(value)
    except UnreadableError as error:
        accepted = "a value in YAML, such as --set 'surface.x=[-1, 1, 25]'"
        raise RequestError(Refusal(f"--set {text}", str(error), accepted=accepted)) from error
    for key in reversed(keys):
        nested = {key: nested}
    return Setting(text, spell_out(nested))


@dataclass(frozen=True)
class Sources:
    """A file and the settings of the command line, each of which wins over those before it."""

    document: Document
    settings: Sequence[Setting]

    def place(self, refusal: Refusal, variant: str = "") -> Refusal:
        """A refusal with the place of its keys; what wins over the others is asked first."""
        wanted = [refusal.keys, *(tuple(each.split(".")) for each in refusal.also)]
        around = [refusal.keys[:length] for length in range(len(refusal.keys) - 1, 0, -1)]
        for setting in reversed(self.settings):
            if any(setting.wrote(keys) or setting.wrote(("variants", variant, *keys)) for keys in wanted):
                return refusal.at(f"--set {setting.text}")
        file, lines = shown(self.document.path), self.document.lines
        for paths in (wanted, around):
            for inside, note in ((("variants", variant), f" (variant {variant})"), ((), "")):
                for keys in paths:
                    if (*inside, *keys) in lines:
                        return refusal.at(f"{file}, line {lines[*inside, *keys]}{note}")
        return refusal.at(file)
