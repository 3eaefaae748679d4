"""How a training begins, ends, diverges and is told about."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossviz.config import read
from lossviz.errors import RequestError, WorkError
from lossviz.files import atomic_write
from lossviz.probe.command import probe_checkpoints, probe_training
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import Stopped, StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from lossviz.training.command import train
from tests.data.photographs import write_tree
from tests.faults import tiny
from tests.faults.tiny import QUIET, Interrupter

HUGE: dict[str, Any] = {"train": {"lr": 1e30}}


def test_a_finished_training_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup = tiny.setup(tmp_path)
    assert train(setup, QUIET, StopRequest()) == 12
    before = tiny.tree(setup.run.folder)
    assert train(setup, Report(), StopRequest()) == 12
    assert "nothing left to train (12 steps)" in capsys.readouterr().out
    assert tiny.tree(setup.run.folder) == before


def test_what_is_missing_of_a_finished_training_is_made_again(tmp_path: Path) -> None:
    """`surface` sends people whose checkpoint is gone to `train`: that must help."""
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    before = tiny.everything(setup.run)
    setup.run.checkpoint_file(12).unlink()
    train(setup, QUIET, StopRequest())
    assert tiny.everything(setup.run) == before
    shutil.rmtree(setup.run.resume_file.parent)
    train(setup, QUIET, StopRequest())
    assert tiny.everything(setup.run) == before
    setup.run.record_file.unlink()
    train(setup, QUIET, StopRequest())
    assert tiny.everything(setup.run) == before
    assert setup.run.record()["train"]["status"] == "done"


def test_a_finished_training_with_a_damaged_file_is_not_called_finished(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    setup.run.train_file.write_bytes(setup.run.train_file.read_bytes()[:-100])
    with pytest.raises(WorkError, match=r"train\.nc: does not match its checksum"):
        train(setup, QUIET, StopRequest())


def test_a_divergence_is_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup = tiny.setup(tmp_path, **HUGE)
    assert train(setup, Report(), StopRequest()) == 1
    assert "diverged: the loss of step 1 is not finite" in capsys.readouterr().out
    curves = load_results(setup.run.train_file)
    assert curves.attrs["diverged_at"] == 1
    assert np.isfinite(curves["loss"].values).tolist() == [True, False]
    assert curves["eval_step"].values.tolist() == [0]
    record = setup.run.record()["train"]
    assert (record["status"], record["last_step"]) == ("diverged", 1)
    assert setup.run.checkpoint_steps == [0]
    before = tiny.tree(setup.run.folder)
    assert train(setup, Report(), StopRequest()) == 1
    assert "nothing left to train (diverged" in capsys.readouterr().out
    assert tiny.tree(setup.run.folder) == before


def test_a_diverged_training_can_be_probed_and_scanned(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, probe={"every": 1}, **HUGE)
    train(setup, QUIET, StopRequest())
    probe_training(setup, QUIET, StopRequest())
    probed = load_results(setup.run.probe_file)
    assert probed["step"].values.tolist() == [0, 1]
    assert math.isfinite(probed["loss"].values[0])
    assert not math.isfinite(probed["loss"].values[1])
    assert not np.isfinite(probed["path_loss"].values[1]).any()
    probe_checkpoints(setup, QUIET, StopRequest())
    surface(ScanPlan(setup), QUIET, StopRequest())
    scanned = load_results(setup.run.surface_file("main"))
    assert (scanned["status"].values > 0).all()


def test_the_point_where_it_diverged_has_a_surface_of_numbers_that_are_not_finite(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, model={"norm": "batch"}, train={"lr": 1e10, "checkpoint_every": 1})
    train(setup, QUIET, StopRequest())
    surface(ScanPlan(setup), QUIET, StopRequest())
    scanned = load_results(setup.run.surface_file("main"))
    assert (scanned["status"].values == 2).all()
    assert not np.isfinite(scanned["loss"].values).any()


def test_probing_on_the_way_into_a_divergence_gives_what_probing_after_it_gives(tmp_path: Path) -> None:
    online, after = (tiny.setup(tmp_path, out, probe={"every": 1}, **HUGE) for out in ("online", "after"))
    probe_training(online, QUIET, StopRequest())
    train(after, QUIET, StopRequest())
    probe_training(after, QUIET, StopRequest())
    assert tiny.results(online.run.probe_file) == tiny.results(after.run.probe_file)
    assert tiny.everything(online.run) == tiny.everything(after.run)


def test_the_record_says_what_made_the_numbers(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path, seed=5)
    train(setup, QUIET, StopRequest())
    record = setup.run.record()
    assert (record["experiment"], record["variant"]) == ("tiny", "tiny")
    stage = record["train"]
    assert (stage["status"], stage["last_step"], stage["seed"]) == ("done", 12, 5)
    assert {"python", "lossviz", "torch", "numpy", "xarray", "h5py", "safetensors"} <= set(stage["versions"])
    assert all(stage["versions"].values())
    compute = stage["compute"]
    assert (compute["device"], compute["precision"], compute["why_device"]) == ("cpu", "float32", "as asked")
    assert "default" in compute["why_precision"]
    assert stage["machine"]["cores"] >= 1
    fingerprints = [stage["code"], stage["data"]["train"], stage["data"]["test"]]
    assert all(text.startswith("sha256:") and len(text) == 71 for text in fingerprints)
    assert stage["command"][0] == "lossviz"
    assert stage["started"] <= stage["ended"]
    assert stage["seconds"] > 0


def test_the_record_tells_configured_from_automatic_precision(tmp_path: Path) -> None:
    facts = tiny.setup(tmp_path, train={"precision": "float64"}).facts()["compute"]
    assert (facts["precision"], facts["why_precision"]) == ("float64", "as configured")


def stopped(setup: Setup, at: int) -> None:
    """Train until a request to stop before a step."""
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(setup, QUIET, stop, Interrupter(stop, at))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (2, [[0, 2], [7, 1]]),
        (1, [[0, 1]]),
        ([], [[7, 1]]),
        ([[0, 1]], [[0, 1]]),
        ([[0, 2], [3, 1]], [[0, 2], [3, 1]]),
        ([[0, 1], [3, 2], [7, 4]], [[0, 1], [3, 2], [7, 1]]),
        ([[0, 2], [8, 4]], [[0, 2], [7, 1]]),
    ],
)
def test_the_history_of_processes_goes_on(tmp_path: Path, before: object, after: list[list[int]]) -> None:
    """A plain number is that of the whole; what was not saved was not trained."""
    setup = tiny.setup(tmp_path)
    stopped(setup, 7)
    setup.run.note("train", processes=before)
    stopped(setup, 9)
    assert setup.run.record()["train"]["processes"] == after
    train(setup, QUIET, StopRequest())
    assert setup.run.record()["train"]["processes"] == after


def test_a_start_that_fails_forgets_nothing(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    stopped(setup, 7)
    setup.run.note("train", processes=[[0, 2]])
    content = setup.run.resume_file.read_bytes()
    setup.run.resume_file.write_bytes(content[:-100])
    with pytest.raises(WorkError):
        train(setup, QUIET, StopRequest())
    setup.run.resume_file.write_bytes(content)
    train(setup, QUIET, StopRequest())
    assert setup.run.record()["train"]["processes"] == [[0, 2], [7, 1]]


def test_other_data_than_those_that_a_training_began_with_are_refused(tmp_path: Path) -> None:
    """run.json is named: a bit of it may have changed, and not the data."""
    setup = tiny.setup(tmp_path)
    stopped(setup, 7)
    data = setup.run.record()["train"]["data"]
    setup.run.note("train", data={**data, "train": f"sha256:{'0' * 64}"})
    with pytest.raises(RequestError, match=r"run\.json: has the fingerprints of other data"):
        train(setup, QUIET, StopRequest())
    setup.run.note("train", data=data)
    train(setup, QUIET, StopRequest())


def test_who_only_makes_a_lost_checkpoint_again_trained_no_step(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    train(setup, QUIET, StopRequest())
    setup.run.note("train", processes=[[0, 2]])
    setup.run.checkpoint_file(12).unlink()
    train(setup, QUIET, StopRequest())
    assert setup.run.record()["train"]["processes"] == [[0, 2]]


@pytest.mark.parametrize(
    ("sections", "there", "said"),
    [
        (
            {"model": {"norm": "batch"}},
            2,
            "2: BatchNorm sees other groups of images (train.sync_bn: true does not depend",
        ),
        ({"model": {"norm": "l2"}}, 4, "4: BatchNorm sees other groups of images\n"),
        (
            {"model": {"norm": "batch"}, "train": {"micro_batch": 4}},
            2,
            "(train.sync_bn: true with micro_batch: all does",
        ),
        ({"model": {"norm": "batch"}, "train": {"micro_batch": 4, "sync_bn": True}}, 2, "2: BatchNorm sees"),
        ({"model": {"norm": "batch"}, "train": {"sync_bn": True}}, 2, ""),
        ({"model": {"norm": "noise"}}, 2, ""),
        ({"model": {"norm": "batch"}}, 1, ""),
    ],
)
def test_other_groups_for_batch_norm_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sections: dict[str, Any], there: int, said: str
) -> None:
    setup = tiny.setup(tmp_path, **sections)
    stopped(setup, 7)
    setup.run.note("train", processes=there)
    train(setup, Report(), StopRequest())
    out = capsys.readouterr().out
    assert ("warning: resuming with 1 process after" in out) == bool(said)
    assert said in out


def test_the_errors_at_the_end_say_of_which_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for examples, of in ((20, "20 training examples"), (40, "the training set"), ("all", "the training set")):
        setup = tiny.setup(tmp_path, str(examples), train={"eval_examples": examples})
        train(setup, Report(), StopRequest())
        last = load_results(setup.run.train_file).isel(eval_step=-1)
        errors = f"error {float(last.train_error):.2f} % on {of}, error {float(last.val_error):.2f} % on the test set\n"
        assert capsys.readouterr().out.endswith(errors)


def test_a_failure_is_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = tiny.setup(tmp_path)

    def full(path: Path, content: bytes) -> None:
        if path.name.startswith("step-00000004"):
            raise WorkError("no room")
        atomic_write(path, content)

    monkeypatch.setattr("lossviz.engine.checkpoint.atomic_write", full)
    with pytest.raises(WorkError, match="no room"):
        train(setup, QUIET, StopRequest())
    assert setup.run.record()["train"]["status"] == "failed"


def test_an_experiment_that_only_scans_cannot_be_trained(tmp_path: Path) -> None:
    path = tmp_path / "scan.yaml"
    path.write_text("{name: scan, data: {name: digits}, model: {name: vgg, width: 0.03}}")
    (config,) = read(str(path))
    with pytest.raises(RequestError, match="scan: has no train section"):
        train(prepare(config, run_of(config, tmp_path), "cpu"), QUIET, StopRequest())


def test_the_errors_at_the_end_are_of_validation_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"name": "imagefolder", "root": str(write_tree(tmp_path / "in")), "image_size": 32, "examples": "all"}
    train(tiny.setup(tmp_path, data=data), Report(), StopRequest())
    assert capsys.readouterr().out.endswith("% on the validation set\n")
