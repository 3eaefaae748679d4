"""What a result file says of its scan."""

from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.surface.attributes import scan_attributes
from lossviz.surface.plan import ScanPlan
from tests.surface.scans import configured, scanned, surface_of


def test_how_many_classes_the_examples_are_of(trained: Path) -> None:
    """The first five digits of the training set, and one of each class."""
    first = scanned(trained, "surface.data.examples=5", "surface.data.split=both")
    counts = {
        prefix: len(set(split.targets[:5].tolist()))
        for prefix, split in (("", first.data.train), ("test_", first.data.test))
    }
    found = surface_of(trained).attrs
    for prefix, count in counts.items():
        assert count < 10
        assert (found[f"{prefix}classes"], found[f"{prefix}classes_of_split"]) == (count, 10)
        assert f"5 examples are of {count} of the 10 classes" in found["sanity"]
    scanned(trained, "surface.name=each", "surface.data.examples=10", "surface.data.choose=stratified")
    assert surface_of(trained, "each").attrs["classes"] == 10
    assert "classes" not in surface_of(trained, "each").attrs["sanity"]


def test_vectors_have_no_classes(tmp_path: Path) -> None:
    (tmp_path / "network").touch()
    settings = ("surface.data.examples=5", f"surface.checkpoint={tmp_path / 'network'}")
    (config,) = read("batchnorm-dln", settings, ("standard",))
    setup = prepare(config, run_of(config, tmp_path), "cpu")
    plan = ScanPlan(setup)
    found = scan_attributes(setup, plan.checkpoint, plan.splits)
    assert found["examples"] == 5
    assert not any("classes" in name for name in found)


@pytest.mark.parametrize(
    ("trained_on", "changed"),
    [({}, ""), ({"test": "sha256:other"}, "test"), ({"train": "sha256:1", "test": "sha256:2"}, "train, test")],
)
def test_data_that_changed_since_the_training(trained: Path, trained_on: dict[str, str], changed: str) -> None:
    """Of a checkpoint of the run itself; where nothing says what it was trained on, nothing is said."""
    run = run_of(configured(), trained)
    scanned(trained, "surface.name=unknown")
    data = run.record()["surface-unknown"]["data"]
    run.note("train", data={**data, **trained_on})
    scanned(trained)
    scanned(trained, "surface.name=elsewhere", f"surface.checkpoint={run.checkpoint_file(3)}")
    assert [surface_of(trained, name).attrs["changed_data"] for name in ("unknown", "main", "elsewhere")] == [
        "",
        changed,
        "",
    ]
    assert (f"the data ({changed}) are not those" in surface_of(trained).attrs["sanity"]) == bool(changed)
