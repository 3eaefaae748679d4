"""What is published of a run: all its numbers, and no place of a machine."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.publish import publish, without_places
from lossviz.probe.command import probe_training
from lossviz.results import load_results
from lossviz.run import find_runs
from lossviz.signals import StopRequest
from tests.faults import tiny
from tests.faults.tiny import QUIET


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("root: /home/someone/data\nworkers: 2\n", "root: data\nworkers: 2\n"),
        ("checkpoint: '/a/b/resnet56.t7'", "checkpoint: 'resnet56.t7'"),
        ("root: data/tiny-imagenet-20", "root: data/tiny-imagenet-20"),
        ("weight_decay / 2 * |theta|^2, 1/nat, and/or", "weight_decay / 2 * |theta|^2, 1/nat, and/or"),
        ("github.com/someone/tool, ../up/here", "github.com/someone/tool, ../up/here"),
    ],
)
def test_absolute_paths_lose_all_but_their_last_name(text: str, published: str) -> None:
    assert without_places(text) == published


def test_every_number_of_a_run_is_published(tmp_path: Path) -> None:
    setup = tiny.setup(tmp_path)
    with setup.run.writing(setup.config):
        probe_training(setup, QUIET, StopRequest())
    publish(setup.run, tmp_path / "published")
    (run,) = find_runs(tmp_path / "published" / "tiny")
    assert run.config().model_dump() == setup.run.config().model_dump()
    for path in (setup.run.train_file, setup.run.probe_file):
        there, here = load_results(path), load_results(run.folder / path.name)
        assert here.identical(there)
        for name in there.variables:
            assert np.array_equal(here[name].values, there[name].values, equal_nan=True)
    assert {path.name for path in run.folder.iterdir()} == {"config.yaml", "run.json", "train.nc", "probe.nc"}
    record = json.loads(run.record_file.read_text())
    assert "command" not in record["train"]
    assert "host" not in record["train"]["machine"]
    assert record["train"]["seconds"] == setup.run.record()["train"]["seconds"]
