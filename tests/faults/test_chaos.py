"""`make chaos` in short: a few of its kills and of its damaged files, and that it sees what is wrong."""

import random

import pytest

from chaos.damage import Kind, damage
from chaos.kills import VICTIMS, Victim, kill
from chaos.ledger import Damage, Row, damage_table, table
from chaos.pieces import lost, pieces, wrong
from chaos.readers import KINDS
from chaos.stages import Stages


@pytest.fixture(scope="module", name="stages")
def _stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(tmp_path_factory.mktemp("chaos"))


@pytest.mark.parametrize("victim", [VICTIMS[0], *VICTIMS[3:5]], ids=lambda victim: victim.name)
def test_killed_at_any_moment(stages: Stages, victim: Victim) -> None:
    row = kill(victim, 3, stages, random.Random(0))
    assert row.clean, row.told
    assert row.rounds == 3


# One kind of file for each reader; a flipped bit, a cut, a zeroed block and a swapped file of each.
SHORT = {
    "curves of a stopped training",
    "state to resume from",
    "measurements at checkpoints",
    "checkpoint of a scan",
    "losses of single examples",
    "surface .h5 of the official tool",
    "weights.pt",
    "index of photographs",
}


@pytest.mark.parametrize("kind", [each for each in KINDS if each.name in SHORT], ids=lambda kind: kind.name)
def test_damaged_files_are_named_or_harmless(stages: Stages, kind: Kind) -> None:
    row = damage(kind, 4, stages, random.Random(0))
    assert row.clean, row.told
    assert row.named + row.harmless + row.unseen == row.files == 4


def test_an_altered_number_and_a_missing_one_are_seen(stages: Stages) -> None:
    there = pieces(stages.at("trained"))
    name = "runs/tiny/a/train.nc step 3"
    assert wrong({**there, name: b""}, there) == [name]
    assert lost({key: value for key, value in there.items() if key != name}, there) == [name]


def test_tables_have_sums() -> None:
    row, kind = Row("lossviz train", "kill -9", rounds=3), Damage("curves", "lossviz plot", files=7, named=6, wrong=1)
    row.note("lost", ["a", "b"])
    assert table([row, row]).splitlines()[-1] == "| **all** |  | **6** | **0** | **4** | **0** | **0** | **0** |"
    assert damage_table([kind]).splitlines()[-1] == "| **all** |  | **7** | **6** | **0** | **0** | **1** | **0** |"
    assert not row.clean
    assert not kind.clean
