"""What a result file says of its scan when that went on under other circumstances, or in another scan's plane."""

from pathlib import Path

import pytest

from lossviz.config import read
from lossviz.config.surface import Surface
from lossviz.engine.setup import prepare
from lossviz.progress import Report
from lossviz.results import load_results, save_results
from lossviz.run import run_of
from lossviz.signals import Stopped, StopRequest
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.measure import surface
from lossviz.surface.pace import Pace
from lossviz.surface.record import kept_pace, of_scan
from lossviz.surface.subject import scanned_splits
from tests.surface.scans import StopAfter, configured, same, scanned, surface_of


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({}, []),
        ({"batch_size": 25, "compile": False}, []),
        ({"batch_size": 50}, ["surface.batch_size = 25"]),
        ({"batch_size": 50, "compile": True}, ["surface.batch_size = 25", "surface.compile = false"]),
    ],
)
def test_what_a_scan_that_goes_on_does_not_follow(asked: dict[str, int | bool], named: list[str]) -> None:
    said = kept_pace(Pace(25), Surface.model_validate(asked))
    assert [part for part in ("surface.batch_size = 25", "surface.compile = false") if part in said] == named
    assert bool(said) == bool(named)


def test_a_scan_that_goes_on_with_other_batches_says_so_and_keeps_its_own(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_results(scanned(trained, "surface.name=whole").run.surface_file("whole"))
    with pytest.raises(Stopped):
        scanned(trained, stop=StopAfter(2))
    config = configured("surface.batch_size=50")
    surface(prepare(config, run_of(config, trained), "cpu"), Report(), StopRequest())
    assert "going on, 2 of 15 points are there; surface.batch_size = 25 as it began" in capsys.readouterr().out
    same(surface_of(trained), whole)
    assert surface_of(trained).attrs["batch_size"] == 25


def test_every_device_that_took_part_is_named_once(trained: Path) -> None:
    setup = scanned(trained)
    file, partial = setup.run.surface_file("main"), surface_of(trained)
    here = partial.attrs["device"]
    partial.status[0, 0] = 0
    save_results(file, partial.assign_attrs(device="cuda:0: another"))
    scanned(trained)
    assert surface_of(trained).attrs["device"] == f"cuda:0: another; {here}"


def test_a_scan_along_another_one_s_directions_is_in_the_same_plane(trained: Path) -> None:
    """By the checksum that the figure of the difference goes by."""
    first = scanned(trained)
    file = first.run.directions_file("main")
    scanned(trained, "surface.name=again", f"surface.directions={{kind: file, path: {file}}}")
    one, two = surface_of(trained), surface_of(trained, "again")
    assert one.attrs["directions_sha256"] == two.attrs["directions_sha256"]
    same(one, two)


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
    (config,) = read("batchnorm-dln", ("surface.data.examples=5",), ("standard",))
    setup = prepare(config, run_of(config, tmp_path), "cpu")
    (tmp_path / "network").touch()
    found = of_scan(setup, Checkpoint("network", tmp_path / "network"), scanned_splits(setup))
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
