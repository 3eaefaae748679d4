"""Which code may run: only the files and modules that the command line names."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lossviz.errors import Refusal, refuse
from lossviz.files import shown

FORMS = "FILE.py:NAME or package.module:NAME"


@dataclass(frozen=True)
class Target:
    """A function or class by name, and the file or module that holds it."""

    source: str
    name: str

    @property
    def in_file(self) -> bool:
        return _is_file(self.source)


@dataclass(frozen=True)
class Allowed:
    """What the command line allowed; a configuration cannot add to it.

    Attributes:
        files: resolved, so that neither `..` nor a link makes one file look like another.
        modules: allowed together with everything below them.
    """

    files: frozenset[Path] = frozenset()
    modules: frozenset[str] = frozenset()

    def permits(self, source: str) -> bool:
        """Whether the code of a file or module may run."""
        if _is_file(source):
            return _resolved(source) in self.files
        parts = source.split(".")
        return any(".".join(parts[:length]) in self.modules for length in range(1, len(parts) + 1))

    @property
    def options(self) -> list[str]:
        """The options of the command line that allow the same."""
        return [word for each in sorted([*map(shown, self.files), *self.modules]) for word in ("--allow", each)]

    def refusal(self, target: str) -> Refusal | None:
        """Why a target may not be loaded; None if it may."""
        source = parse_target(target).source
        if _is_file(source) and not _resolved(source):
            advice = f"a path is relative to the working directory, {Path.cwd()}"
            return Refusal(target, f"there is no file {source}", advice=advice)
        if self.permits(source):
            return None
        advice = f"if you trust what is in {source}, add --allow {shlex.quote(source)}"
        return Refusal(target, "runs code that the command line did not allow", advice=advice)


NOBODY = Allowed()


def parse_target(text: str) -> Target:
    """Take `FILE.py:NAME` or `package.module:NAME` apart.

    Raises:
        ValueError: it has another form.

    Example:
        >>> target = parse_target("my_nets.py:Net")
        >>> target.in_file
        True
    """
    source, _, name = text.rpartition(":")
    if not name.isidentifier() or not _is_source(source):
        raise ValueError(f"is not of the form {FORMS}")
    return Target(source, name)


def parse_allowed(options: Sequence[str]) -> Allowed:
    """The values of `--allow`.

    Raises:
        RequestError: one is neither a file that is there nor the name of a module.
    """
    for option in options:
        if not _is_source(option):
            hint = f"; name the file or module alone: {option.rpartition(':')[0]}" if ":" in option else ""
            refuse(f"--allow {option}", f"is neither FILE.py nor package.module{hint}")
    files = {option: _resolved(option) for option in options if _is_file(option)}
    for option, path in files.items():
        if path is None:
            refuse(f"--allow {option}", "there is no such file")
    return Allowed(frozenset(filter(None, files.values())), frozenset(options).difference(files))


def _is_file(source: str) -> bool:
    return source.endswith(".py")


def _resolved(file: str) -> Path | None:
    """The real path of a file; None if there is no such file."""
    try:
        path = Path(file).resolve(strict=True)
    except (OSError, RuntimeError):  # the latter: links in a circle
        return None
    return path if path.is_file() else None


def _is_source(text: str) -> bool:
    if _is_file(text):
        return text.isprintable() and ":" not in text
    return all(part.isidentifier() for part in text.split("."))
