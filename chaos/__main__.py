"""`make chaos`: kill commands at random times, damage files, and tell what was wrong.

python -m chaos [--seed N] [--kills N] [--fresh N] [--clusters N] [--damaged N] [--out FILE]

Networks are tiny, and most commands are forked from a server that has imported torch: a new Python takes five seconds
for that, the commands take one or two. A smaller share is new Pythons, killed while they import too.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from chaos.cluster import FAULTS, disturb
from chaos.damage import damage
from chaos.kills import VICTIMS, kill
from chaos.ledger import Damage, Row, damage_table, table
from chaos.readers import KINDS
from chaos.stages import Stages
from lossviz.progress import Report


def killed(stages: Stages, kills: int, fresh: int, chance: random.Random) -> Iterator[Row]:
    """Every command, killed about as often as the others; then some in new Pythons."""
    for number, victim in zip(_shares(kills, len(VICTIMS)), VICTIMS, strict=True):
        if number:
            yield kill(victim, number, stages, chance)
    for number, victim in zip(_shares(fresh, len(VICTIMS)), VICTIMS, strict=True):
        if number:
            yield kill(victim, number, stages, chance, fresh=True)


def disturbed(stages: Stages, rounds: int, chance: random.Random) -> Iterator[Row]:
    """Scans on clusters, each fault about as often as the others."""
    for number, fault in zip(_shares(rounds, len(FAULTS)), FAULTS, strict=True):
        if number:
            yield disturb(fault, number, stages, chance)


def damaged(stages: Stages, files: int, chance: random.Random) -> Iterator[Damage]:
    """Every kind of file, damaged about as often as the others."""
    for number, kind in zip(_shares(files, len(KINDS)), KINDS, strict=True):
        if number:
            yield damage(kind, number, stages, chance)


def _shares(whole: int, parts: int) -> Sequence[int]:
    return [whole // parts + (part < whole % parts) for part in range(parts)]


def main() -> None:
    """Run the suite and print its tables; the exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description="kill commands, and damage files")
    parser.add_argument("--seed", type=int, default=0, help="of all random times and places")
    parser.add_argument("--kills", type=int, default=240, help="signals that meet a running command")
    parser.add_argument("--fresh", type=int, default=16, help="signals that meet a new Python")
    parser.add_argument("--clusters", type=int, default=39, help="faults of scans with --workers or --scheduler")
    parser.add_argument("--damaged", type=int, default=1000, help="files that are damaged")
    parser.add_argument("--out", type=Path, help="a Markdown file for the tables")
    asked = parser.parse_args()
    report, chance = Report(), random.Random(asked.seed)
    rows: list[Row] = []
    files: list[Damage] = []
    with tempfile.TemporaryDirectory(prefix="lossviz-chaos-") as folder:
        stages = Stages(Path(folder))
        kills = killed(stages, asked.kills, asked.fresh, chance)
        for row in chain(kills, disturbed(stages, asked.clusters, chance)):
            rows.append(row)
            report.say("\n  ".join([f"{row.command}, {row.done}: {row.rounds} met it, {row.late} too late", *row.told]))
        for each in damaged(stages, asked.damaged, chance):
            files.append(each)
            report.say("\n  ".join([f"{each.kind}, {each.command}: {each.files} files", *each.told]))
    text = "\n".join(filter(None, (table(rows) if rows else "", damage_table(files) if files else "")))
    sys.stdout.write(f"\n{text}")
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    sys.exit(0 if all(row.clean for row in rows) and all(each.clean for each in files) else 1)


if __name__ == "__main__":
    main()
