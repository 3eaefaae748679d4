"""What is recorded of a run, and which runs there are."""

import json
import sys
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

from lossviz.errors import RequestError, WorkError
from lossviz.run import Run, find_runs, run_of
from lossviz.signals import Stopped
from tests.runs import configs, trained

VARIANTS = "variants: {zeta: {}, alpha: {}, mid: {}}\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return trained(tmp_path)


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "done"), (Stopped(15), "interrupted"), (KeyboardInterrupt(), "interrupted"), (WorkError("x"), "failed")],
)
def test_a_stage_is_recorded(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, status: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/lossviz", "train", "c.yaml"])
    try:
        with run.stage("train", device="cpu") as outcome:
            assert run.record()["train"]["status"] == "running"
            outcome["last_step"] = 7
            if error:
                raise error
    except BaseException as raised:
        assert raised is error
    record = json.loads(run.record_file.read_text())
    assert (record["experiment"], record["variant"]) == ("exp", "exp")
    train = record["train"]
    assert (train["status"], train["device"], train["last_step"]) == (status, "cpu", 7)
    assert train["command"] == ["lossviz", "train", "c.yaml"]
    started, ended = datetime.fromisoformat(train["started"]), datetime.fromisoformat(train["ended"])
    assert started.utcoffset() is not None
    assert started <= ended
    assert train["seconds"] >= 0


def test_a_clock_that_is_set_back_by_an_hour_does_not_change_how_long_it_took(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            moment = super().now(tz)
            return moment - timedelta(hours=1) if late else moment

    late = False
    monkeypatch.setattr("lossviz.run.datetime", Clock)
    with run.stage("train"):
        late = True
    assert 0 <= run.record()["train"]["seconds"] < 600


def test_a_stage_says_how_it_ended_itself(run: Run) -> None:
    with run.stage("train") as outcome:
        outcome["status"] = "diverged"
    assert run.record()["train"]["status"] == "diverged"


def test_a_stage_that_begins_again_forgets_how_it_ended(run: Run) -> None:
    with run.stage("probe"):
        pass
    with run.stage("train", device="cuda"):
        pass
    with run.stage("train"):
        again = run.record()
    assert "ended" not in again["train"]
    assert "device" not in again["train"]
    assert again["probe"]["status"] == "done"


def test_facts_are_added_to_a_stage(run: Run) -> None:
    assert run.record() == {}
    run.note("train", a=1, b=2)
    run.note("train", b=3)
    run.note("probe", a=4)
    assert run.record() == {"experiment": "exp", "variant": "exp", "train": {"a": 1, "b": 3}, "probe": {"a": 4}}


@pytest.mark.parametrize("content", [b"", b'{"train": {', b"[1, 2]", b"3", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_record_is_told(run: Run, content: bytes) -> None:
    run.record_file.write_bytes(content)
    with pytest.raises(WorkError) as caught, run.stage("train"):
        raise AssertionError("must not get here")
    assert str(caught.value) == "runs/exp/exp/run.json: is damaged\n  delete it; it is only a record"
    assert run.record_file.read_bytes() == content


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for config in configs(tmp_path, variants=VARIANTS):
        with run_of(config, Path("runs")).writing(config):
            pass
    figures = tmp_path / "runs" / "exp" / "figures"
    figures.mkdir()
    (figures / "a.pdf").write_text("")
    return Path("runs/exp")


def test_runs_are_found_in_the_order_of_the_experiment(several: Path) -> None:
    assert [run.variant for run in find_runs(several)] == ["zeta", "alpha", "mid"]
    assert [run.variant for run in find_runs(several, ["mid", "zeta"])] == ["zeta", "mid"]
    assert [run.variant for run in find_runs(several / "mid")] == ["mid"]
    assert [run.variant for run in find_runs(several / "mid", ["mid"])] == ["mid"]


def test_a_run_that_the_experiment_no_longer_names_comes_last(several: Path, tmp_path: Path) -> None:
    (config,) = configs(tmp_path, variants="variants: {aaa: {}}\n")
    alien = config.model_copy(update={"siblings": ("bbb",)})
    with run_of(alien, Path("runs")).writing(alien):
        pass
    assert [run.variant for run in find_runs(several)] == ["zeta", "alpha", "mid", "aaa"]


@pytest.mark.parametrize(
    ("path", "only", "message"),
    [
        ("runs/other", [], "runs/other: there is no such folder; lossviz train makes it"),
        ("c.yaml", [], "c.yaml: there is no such folder; lossviz train makes it"),
        ("runs/exp", ["a", "mid", "b"], "runs/exp: holds no variant a, b\n  there is: zeta, alpha, mid"),
        ("runs/exp/mid", ["zeta"], "runs/exp/mid: holds no variant zeta\n  there is: mid"),
        (
            "runs/exp/figures",
            [],
            "runs/exp/figures: holds nothing that lossviz train left\n"
            "  there is: no run (a folder with config.yaml, one level down)",
        ),
        (
            "runs",
            [],
            "runs: holds nothing that lossviz train left\n"
            "  there is: no run (a folder with config.yaml, one level down)\n"
            "  did you mean runs/exp?",
        ),
    ],
)
@pytest.mark.usefixtures("several")
def test_no_such_run(path: str, only: list[str], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        find_runs(Path(path), only)
    assert str(caught.value) == message
    assert caught.value.exit_status == 2
