"""Each command over all variants: locks, --fresh, --dry-run, requests to stop, too little memory."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lossviz import work
from lossviz.config import Config
from lossviz.errors import RequestError, WorkError
from lossviz.progress import Report
from lossviz.run import Run
from lossviz.setup import Setup
from lossviz.signals import Stopped, StopRequest
from lossviz.work import Options
from tests.faults import tiny
from tests.jobs import QUIET, REFUSED, finished, jobs


@pytest.fixture(name="done")
def _done(tmp_path: Path) -> list[tuple[Run, Config]]:
    return finished(tmp_path)


def test_a_dry_run_says_cost_and_files_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = jobs(tmp_path)
    before = tiny.tree(tmp_path)
    work.train(made, Options("cpu", dry_run=True))
    work.probe(made, Options("cpu", dry_run=True, fresh=True), at_checkpoints=False)
    assert tiny.tree(tmp_path) == before
    assert not (tmp_path / "runs").exists()
    out = capsys.readouterr().out
    for text in ("tiny/one:\n", "tiny/two:\n", "12 steps", "writes train.nc, 4 checkpoints", "and probe.nc"):
        assert text in out


@pytest.mark.parametrize("fresh", [False, True])
def test_a_dry_run_of_a_finished_run_touches_nothing_either(
    done: list[tuple[Run, Config]], fresh: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = done[0][0].folder
    before = tiny.tree(folder)
    capsys.readouterr()
    for command in (work.train, work.surface):
        command(done, Options("cpu", fresh=fresh, dry_run=True))
    assert tiny.tree(folder) == before
    out = capsys.readouterr().out
    verb = "discards" if fresh else "resumes"
    assert f"  {verb} train.nc, probe.nc, surface-main.nc, directions-main.safetensors, checkpoints" in out
    assert f"  {verb} surface-main.nc, directions-main.safetensors\n" in out


def several(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    """As one of two processes that torchrun started."""
    for name, value in (("RANK", rank), ("WORLD_SIZE", 2), ("LOCAL_RANK", rank)):
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (partial(work.probe, at_checkpoints=True), "start it without"),
        (partial(work.probe, at_checkpoints=False), "start it without"),
        (work.surface, "--workers N"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_only_trainings_have_several_processes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    command: Callable[..., None],
    words: str,
    dry_run: bool,
) -> None:
    made = jobs(tmp_path)
    several(monkeypatch, rank)
    with pytest.raises(RequestError, match=rf"one process, and torchrun started 2\n  .*{words}"):
        command(made, Options("cpu", dry_run=dry_run))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_of_several_speaks_and_writes(
    tmp_path: Path,
    done: list[tuple[Run, Config]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: int,
) -> None:
    """It holds the lock for all; the others must not wait for it, and say nothing."""
    locked: list[bool] = []

    def action(setup: Setup, report: Report, _: StopRequest) -> None:
        locked.append((setup.run.folder / ".writer").exists())
        report.say("trained")

    monkeypatch.setattr(work, "train_variant", action)
    several(monkeypatch, rank)
    capsys.readouterr()
    before = tiny.tree(tmp_path)
    work.train(done, Options("cpu", fresh=True))
    assert locked == [rank == 0]
    out = capsys.readouterr().out
    assert ("trained" in out) == (rank == 0)
    assert ("float32" in out) == (rank == 0)
    lost = {Path(name).name for name in before.keys() - tiny.tree(tmp_path).keys()}
    assert ({"train.nc", "surface-main.nc", "directions-main.safetensors"} <= lost) == (rank == 0)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_several_makes_the_dry_run(
    tmp_path: Path,
    done: list[tuple[Run, Config]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: int,
) -> None:
    several(monkeypatch, rank)
    before = tiny.tree(tmp_path)
    capsys.readouterr()
    work.train(done, Options("cpu", dry_run=True, fresh=True))
    out = capsys.readouterr().out
    assert ("12 steps" in out) == (rank == 0)
    assert tiny.tree(tmp_path) == before


@pytest.mark.parametrize("variants", [{"one": {}, "two": REFUSED}, {"one": {}, "two": REFUSED, "three": {}}])
def test_no_variant_begins_where_another_is_refused(tmp_path: Path, variants: dict[str, Any]) -> None:
    """Its turn may come days later."""
    made = jobs(tmp_path, variants=variants)
    before = tiny.tree(tmp_path)
    others = " ".join(f"--variant {name}" for name in variants if name != "two")
    for command in (work.train, partial(work.probe, at_checkpoints=False)):
        with pytest.raises(RequestError, match=r"^\S*/tiny/two: train\.micro_batch = 1\b") as refusal:
            command(made, QUIET)
        assert str(refusal.value).endswith(f"\nthe other variants alone: {others}")
    assert tiny.tree(tmp_path) == before
    assert not (tmp_path / "runs").exists()


def test_all_variants_that_are_refused_are_named(tmp_path: Path) -> None:
    made = jobs(tmp_path, variants={"one": REFUSED, "two": REFUSED})
    with pytest.raises(RequestError) as refusal:
        work.train(made, QUIET)
    assert [line.split(": ")[0].split("/")[-1] for line in str(refusal.value).splitlines() if "/tiny/" in line] == [
        "one",
        "two",
    ]
    assert "the other variants" not in str(refusal.value)


def test_a_dry_run_lists_all_variants_and_says_which_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = jobs(tmp_path, variants={"one": {}, "two": REFUSED, "three": {}})
    with pytest.raises(RequestError, match=r"/tiny/two: train\.micro_batch = 1: "):
        work.train(made, Options("cpu", dry_run=True))
    out = capsys.readouterr().out
    assert out.count("12 steps of 8 examples") == 2
    places = [out.index(text) for text in ("/one:\n", "/two:\n  refused: train.micro_batch = 1: ", "/three:\n")]
    assert places == sorted(places)
    assert not (tmp_path / "runs").exists()


def test_a_request_to_stop_ends_the_command_and_not_only_a_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant that has nothing left to do never looks at the request."""
    seen: list[str] = []

    def action(setup: Setup, _: Report, __: StopRequest) -> None:
        seen.append(setup.run.variant)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(work, "train_variant", action)
    with pytest.raises(Stopped) as stopped:
        work.train(jobs(tmp_path), QUIET)
    assert stopped.value.exit_status == 143
    assert seen == ["one"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore lines"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_too_little_memory_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def action(*_: object) -> None:
        raise error

    monkeypatch.setattr(work, "train_variant", action)
    with pytest.raises(WorkError, match=r"tiny/one: out of memory.*\n  lower .*surface\.batch_size"):
        work.train(jobs(tmp_path), QUIET)


def test_other_errors_of_the_runtime_are_bugs_and_stay_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def action(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(work, "train_variant", action)
    with pytest.raises(RuntimeError, match="a bug"):
        work.train(jobs(tmp_path), QUIET)


def test_the_device_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work.train(jobs(tmp_path), Options("cpu", dry_run=True))
    assert capsys.readouterr().out.count("float32") == 1


def test_a_divergence_does_not_stop_the_other_variants(tmp_path: Path) -> None:
    made = jobs(tmp_path, train={"lr": 1e30})
    work.train(made, QUIET)
    assert [run.record()["train"]["status"] for run, _ in made] == ["diverged", "diverged"]


def test_commands_keep_freed_memory_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that chooses a device must not: the process of a notebook belongs to its user."""
    kept: list[bool] = []
    monkeypatch.setattr(work, "keep_freed_memory", lambda: kept.append(True))
    work.train(jobs(tmp_path)[:1], Options("cpu", dry_run=True))
    assert kept
