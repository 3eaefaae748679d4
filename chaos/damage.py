"""Damaged files: a flipped bit, a cut, a zeroed block, two files swapped. Each is named or harmless."""

import random
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.ledger import Damage
from chaos.pieces import Pieces, pieces, wrong
from chaos.stages import Stages
from tests.faults.launch import Lossviz

# Half a sector; a small file loses a quarter.
BLOCK = 256
# The index of photographs lies below the working directory, so that every damaged folder has its own.
CACHE = {"XDG_CACHE_HOME": "cache"}
SECONDS_TO_END = 60.0
REFUSED = (1, 2)


def flip(content: bytes, chance: random.Random) -> bytes:
    """Another bit somewhere."""
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def cut(content: bytes, chance: random.Random) -> bytes:
    """The beginning of a file."""
    return content[: chance.randrange(len(content))]


def blank(content: bytes, chance: random.Random) -> bytes:
    """Zeros in the place of a block."""
    size = min(BLOCK, max(1, len(content) // 4))
    at = chance.randrange(len(content) - size + 1)
    return content[:at] + bytes(size) + content[at + size :]


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, blank)


@dataclass(frozen=True)
class Kind:
    """Files of one kind, and a command that reads them.

    Attributes:
        name: for the table.
        stage: the folder that holds them.
        files: which, as patterns.
        command: what is run.
        checked: whether a checksum covers them; what another tool wrote mostly has none.
        told_apart: whether each says what it is of. Swapped photographs are another data set, which nobody can know.
        partners: with which of the files that these patterns give one is swapped; those of `files` by default.
        prepare: adds to a copy of the stage what no command of lossviz writes.
        also: other paths that a message may name in place of the file.
    """

    name: str
    stage: str
    files: Sequence[str]
    command: Sequence[str]
    checked: bool = True
    told_apart: bool = True
    partners: Sequence[str] = ()
    prepare: Callable[[Path], object] = lambda _: None
    also: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What a command made of a folder.

    Attributes:
        said: on standard error.
        warnings: on standard output.
        pieces: all numbers below the folder afterwards.
    """

    status: int | None
    said: str
    warnings: Sequence[str]
    pieces: Pieces


def damage(kind: Kind, files: int, stages: Stages, chance: random.Random) -> Damage:
    """Damage files of one kind, one at a time, and run the command that reads them.

    Args:
        kind: which.
        files: how many are damaged.
        stages: where they lie.
        chance: decides where the damage is.
    """
    row = Damage(kind.name, f"lossviz {kind.command[0]}")
    whole = _prepared(kind, stages)
    expected = _run(kind, stages, whole, ())
    assert expected.status == 0, expected.said
    there, partners = (_found(whole, patterns) for patterns in (kind.files, kind.partners or kind.files))
    for number in range(files):
        file, way = chance.choice(there), number % (len(DAMAGES) + 1)
        others = [each for each in partners if (whole / each).read_bytes() != (whole / file).read_bytes()]
        other = chance.choice(others) if way == len(DAMAGES) and others else None
        folder = stages.copy_of(whole)
        damaged: tuple[Path, ...] = (file, other) if other else (file,)
        if other:
            how = f"swapped with {other}"
            (folder / file).write_bytes((whole / other).read_bytes())
            (folder / other).write_bytes((whole / file).read_bytes())
        else:
            change = DAMAGES[way % len(DAMAGES)]
            how = change.__name__
            (folder / file).write_bytes(change((whole / file).read_bytes(), chance))
        _judge(row, kind, f"{file}, {how}", damaged, _run(kind, stages, folder, damaged), expected)
    shutil.rmtree(whole)
    return row


def _judge(row: Damage, kind: Kind, what: str, damaged: Sequence[Path], found: Outcome, expected: Outcome) -> None:
    row.files += 1
    if "Traceback" in found.said:
        row.tracebacks += 1
        row.told.append(f"{what}: {found.said[-600:]}")
    elif found.status in REFUSED:
        names = [*map(str, damaged), *kind.also]
        if any(name in found.said for name in names):
            row.named += 1
        else:
            row.wrong += 1
            row.told.append(f"{what}: not named: {found.said}")
    elif found.status == 0:
        untouched = {name: value for name, value in expected.pieces.items() if not _is_of(name, damaged, found)}
        differing = [*wrong(found.pieces, expected.pieces), *(untouched.keys() - found.pieces.keys())]
        if not differing:
            row.harmless += 1
        elif any(str(each) in line for line in found.warnings for each in damaged):
            row.named += 1
        elif kind.checked and (kind.told_apart or len(damaged) == 1):
            row.wrong += 1
            row.told.append(f"{what}: other numbers: {', '.join(differing[:3])}")
        else:
            row.unseen += 1
    else:
        row.wrong += 1
        row.told.append(f"{what}: exit status {found.status}: {found.said[-300:]}")


def _is_of(name: str, damaged: Sequence[Path], found: Outcome) -> bool:
    """Whether a piece belongs to a damaged file that the command left as it was."""
    return any(name.startswith(str(each)) for each in damaged) and name not in found.pieces


def _prepared(kind: Kind, stages: Stages) -> Path:
    folder = stages.copy(kind.stage)
    kind.prepare(folder)
    return folder


def _run(kind: Kind, stages: Stages, folder: Path, damaged: Sequence[Path]) -> Outcome:
    """Run the command; in a copy, where the folder is whole."""
    here = folder if damaged else stages.copy_of(folder)
    before = {each: (here / each).read_bytes() for each in damaged}
    lossviz = Lossviz(kind.command, here, environment=CACHE)
    lossviz.process.join(SECONDS_TO_END)
    if lossviz.process.is_alive():
        lossviz.send(signal.SIGKILL)
        lossviz.process.join()
    # A damaged file that the command left alone says nothing of what the command makes of it.
    left = {here / each for each, content in before.items() if _content(here / each) == content}
    warnings = [line for line in lossviz.out.splitlines() if "warning:" in line]
    found = Outcome(lossviz.process.exitcode, lossviz.err, warnings, pieces(here, left))
    shutil.rmtree(here)
    return found


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _found(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({each.relative_to(folder) for pattern in patterns for each in folder.glob(pattern) if each.is_file()})
