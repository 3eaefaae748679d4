"""What --fresh discards, and what a command that is refused leaves as it was."""

from pathlib import Path
from typing import Any

import pytest

from lossviz import work
from lossviz.config import Config
from lossviz.errors import RequestError
from lossviz.run import Run
from lossviz.surface.plan import ScanPlan
from lossviz.work import Options
from tests.faults import tiny
from tests.jobs import FRESH, QUIET, TWO, finished, jobs


@pytest.fixture(name="done")
def _done(tmp_path: Path) -> list[tuple[Run, Config]]:
    return finished(tmp_path)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Names of files that appeared, vanished or differ, but for the record."""
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name) != after.get(name)} - {"run.json"}


def test_fresh_discards_only_what_belongs_to_the_command(done: list[tuple[Run, Config]]) -> None:
    run = done[0][0]
    before, numbers = tiny.tree(run.folder), tiny.everything(run)
    run.probe_file.write_bytes(b"old")
    work.probe(done, FRESH, at_checkpoints=False)
    assert changed(before, tiny.tree(run.folder)) <= {"probe.nc"}
    before = tiny.tree(run.folder)
    run.surface_file("main").write_bytes(b"old")
    work.surface(done, FRESH)
    assert changed(before, tiny.tree(run.folder)) <= {"surface-main.nc"}
    assert tiny.everything(run) == numbers


def test_a_fresh_scan_leaves_scans_of_other_names(tmp_path: Path, done: list[tuple[Run, Config]]) -> None:
    run = done[0][0]
    other = jobs(tmp_path, surface={"name": "other"})[:1]
    work.surface(other, QUIET)
    before = tiny.tree(run.folder)
    work.surface(other, FRESH)
    assert changed(before, tiny.tree(run.folder)) <= {"surface-other.nc"}


def test_a_fresh_training_discards_its_measurements_and_nothing_of_the_person(
    tmp_path: Path, done: list[tuple[Run, Config]]
) -> None:
    run = done[0][0]
    notes = run.folder / "notes.txt"
    notes.write_text("mine")
    for folder in ("samples-main", "blocks-main", "samples-for-paper"):
        (run.folder / folder).mkdir()
        (run.folder / folder / "point").touch()
    work.train(jobs(tmp_path, train={"lr": 0.01})[:1], FRESH)
    left = {path.name for path in run.folder.iterdir()}
    assert left == {"train.nc", "checkpoints", "config.yaml", "run.json", "notes.txt", "samples-for-paper", ".lock"}
    assert notes.read_text() == "mine"
    assert set(run.record()) == {"experiment", "variant", "train"}
    assert "lr: 0.01" in run.config_file.read_text()


def test_what_is_refused_beforehand_leaves_no_trace(tmp_path: Path, done: list[tuple[Run, Config]]) -> None:
    before = tiny.tree(tmp_path)
    refused: list[dict[str, Any]] = [
        {"surface": {"checkpoint": "nowhere.pt"}},
        {"surface": {"checkpoint": 5}},
        {"surface": {"data": {"examples": 4000}}},
    ]
    for sections in refused:
        with pytest.raises(RequestError):
            work.surface(jobs(tmp_path, **sections)[:1], QUIET)
    tiny.write(tmp_path, variants=TWO)
    with pytest.raises(RequestError, match="has no checkpoint"):
        work.surface(jobs(tmp_path)[1:], QUIET)
    tiny.write(tmp_path, variants=TWO)
    before["tiny.yaml"] = tiny.tree(tmp_path)["tiny.yaml"]
    assert tiny.tree(tmp_path) == before
    work.surface(done, QUIET)


def test_what_is_gone_by_the_turn_of_a_variant_is_refused_before_anything_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All could be done when the command began."""
    made = jobs(tmp_path)
    work.train(made, QUIET)
    work.surface(made, QUIET)
    second = made[1][0]

    def action(scan: ScanPlan, *_: object, **__: object) -> None:
        assert scan.setup.run == made[0][0], "the second variant is refused"
        for step in second.checkpoint_steps:
            second.checkpoint_file(step).unlink()

    monkeypatch.setattr(work, "scan_variant", action)
    with pytest.raises(RequestError, match="has no checkpoint"):
        work.surface(made, FRESH)
    assert second.surface_file("main").exists()


@pytest.mark.parametrize("at_checkpoints", [False, True])
def test_a_probe_on_other_data_is_refused_before_anything_is_discarded(
    tmp_path: Path, done: list[tuple[Run, Config]], at_checkpoints: bool
) -> None:
    """On other training examples, that is: a probe sees no others."""
    run = done[0][0]
    data = run.record()["train"]["data"]
    run.note("train", data={**data, "train": f"sha256:{'0' * 64}"})
    before = tiny.tree(tmp_path)
    with pytest.raises(RequestError, match=r"run\.json: has the fingerprints of other data"):
        work.probe(done, FRESH, at_checkpoints=at_checkpoints)
    assert tiny.tree(tmp_path) == before
    run.note("train", data={**data, "test": f"sha256:{'0' * 64}"})
    work.probe(done, FRESH, at_checkpoints=at_checkpoints)


def test_a_fresh_probe_of_a_folder_says_first_how_many_steps_it_discards(
    done: list[tuple[Run, Config]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Along the training 5 steps were measured, at its checkpoints there are 4."""
    run = done[0][0]
    capsys.readouterr()
    work.probe(done, Options("cpu", fresh=True), at_checkpoints=True)
    said = capsys.readouterr().out.splitlines()
    note = f"note: --fresh discards {run.probe_file} with its 5 measured steps"
    assert said.index(note) < said.index(f"{run.probe_file}: 4 steps measured")
