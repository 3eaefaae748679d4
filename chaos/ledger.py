"""What is counted, and the tables of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from benchmarks.markdown import markdown

# At most so many descriptions of one kind of disturbance.
_TOLD = 5


@dataclass
class Row:
    """One command and what was done to it.

    Attributes:
        rounds: disturbances that met the command while it ran.
        late: disturbances that came when it had ended.
        wrong: pieces that differ from the untouched run, and exit statuses that nobody promised.
        lost: pieces that were on disk and are not, and those that a finished command lacks.
        hung: commands that did not end in time.
        orphans: processes that outlived their command.
        tracebacks: commands that showed one.
        told: what was wrong, for people.
    """

    command: str
    done: str
    rounds: int = 0
    late: int = 0
    wrong: int = 0
    lost: int = 0
    hung: int = 0
    orphans: int = 0
    tracebacks: int = 0
    told: list[str] = field(default_factory=list)

    def note(self, kind: str, what: Iterable[str]) -> None:
        """Count what was found, and keep some of it in words."""
        found = list(what)
        setattr(self, kind, getattr(self, kind) + len(found))
        self.told += [f"{self.command}, {self.done}: {kind}: {each}" for each in found[: _TOLD - len(self.told)]]

    @property
    def clean(self) -> bool:
        return not (self.wrong or self.lost or self.hung or self.orphans or self.tracebacks)


COUNTED = ("rounds", "wrong", "lost", "hung", "orphans", "tracebacks")


@dataclass
class Damage:
    """Damaged files of one kind.

    Attributes:
        named: the command refused, and its message names the file.
        harmless: the command gave what it gives of the undamaged file.
        unseen: it gave something else, of a format that has no checksum or names nothing: nobody can know.
        wrong: it gave something else of a format that has one, or named nothing.
    """

    kind: str
    command: str
    files: int = 0
    named: int = 0
    harmless: int = 0
    unseen: int = 0
    wrong: int = 0
    tracebacks: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.wrong or self.tracebacks)


def table(rows: Iterable[Row]) -> str:
    """Disturbed commands, and their sum."""
    rows = list(rows)
    lines = [[row.command, row.done, *(f"{getattr(row, name):,}" for name in COUNTED)] for row in rows]
    total = ["**all**", "", *(f"**{sum(getattr(row, name) for row in rows):,}**" for name in COUNTED)]
    return markdown(["command", "what was done to it", *COUNTED], [*lines, total])


def damage_table(rows: Iterable[Damage]) -> str:
    """Damaged files, and their sum."""
    rows, counted = list(rows), [each.name for each in fields(Damage) if each.type in (int, "int")]
    lines = [[row.kind, f"`{row.command}`", *(f"{getattr(row, name):,}" for name in counted)] for row in rows]
    total = ["**all**", "", *(f"**{sum(getattr(row, name) for row in rows):,}**" for name in counted)]
    return markdown(["file", "read by", *counted], [*lines, total])
