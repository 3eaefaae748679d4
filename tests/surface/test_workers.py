"""A scan and its workers: every point ends in the file, whoever computes it and in whatever order."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lossviz.errors import WorkError
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.signals import Stopped, StopRequest
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.command import surface
from lossviz.surface.file import Attributes
from lossviz.surface.grid import Index
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.files import SampleFiles
from lossviz.surface.scan import Scan, open_scan
from lossviz.surface.waypoints import Waypoint
from lossviz.surface.workers import HERE, Here, Results
from tests.surface.scans import StopAfter, configured

POINTS = 15


class Given:
    """Workers that answer as a test says, with numbers that tell the points apart."""

    def __init__(self, answers: Callable[[Sequence[Index]], Iterator[Sequence[Index]]]) -> None:
        self.answers = answers
        self.asked: list[list[Index]] = []

    def results(self, points: Sequence[Index], samples: SampleFiles) -> Iterator[Results]:
        assert not samples.folder.exists()
        self.asked.append(list(points))
        for block in self.answers(points):
            yield Results({index: dict.fromkeys(NAMES, 10.0 * index[0] + index[1]) for index in block})

    def waypoints(self, checkpoints: Sequence[Checkpoint]) -> Iterator[Mapping[int, Waypoint]]:
        yield {}
        for place in reversed(range(len(checkpoints))):
            values = dict.fromkeys(("x", "y", "loss", "error", "plane_loss", "distance", "outputs"), float(place + 1))
            yield {place: Waypoint(values, "float64")}

    def count(self) -> int:
        return 2

    def state(self) -> str:
        return "2 workers"

    def attributes(self) -> Attributes:
        return {"pace": "fast"}


NAMES = ("loss", "loss_stderr", "error", "penalty", "seconds")


def one_by_one(points: Sequence[Index]) -> Iterator[Sequence[Index]]:
    yield from ([index] for index in points)


def backwards_in_pairs_with_pauses(points: Sequence[Index]) -> Iterator[Sequence[Index]]:
    for start in range(len(points), 0, -2):
        yield []
        yield points[max(start - 2, 0) : start]


def twice(points: Sequence[Index]) -> Iterator[Sequence[Index]]:
    """A worker that was thought dead answers after another one did."""
    for index in points:
        yield [index]
        yield [index]


@pytest.fixture(name="scan")
def _scan(trained: Path) -> Scan:
    config = configured()
    scan = open_scan(ScanPlan(prepare(config, run_of(config, trained), "cpu")), HERE, print)
    scan.file.save()
    return scan


def known(scan: Scan) -> int:
    return int((load_results(scan.file.path).status != 0).sum())


@pytest.mark.parametrize("answers", [one_by_one, backwards_in_pairs_with_pauses, twice])
def test_every_answer_has_its_place(
    scan: Scan, answers: Callable[[Sequence[Index]], Iterator[Sequence[Index]]]
) -> None:
    scan.compute(Given(answers), Report(quiet=True), StopRequest())
    found = load_results(scan.file.path)
    np.testing.assert_array_equal(found.loss.values, [[10.0 * i + j for j in range(5)] for i in range(3)])
    assert (found.status == 1).all()
    assert found.checkpoint_loss.values.tolist() == [1.0]
    assert scan.file.attributes["pace"] == "fast"


def test_only_what_is_to_do_is_asked_for_coarse_points_first(scan: Scan) -> None:
    for index in [(0, 0), (2, 3)]:
        scan.file.grid.put(index, {"loss": 1.0})
    workers = Given(one_by_one)
    scan.compute(workers, Report(quiet=True), StopRequest())
    (asked,) = workers.asked
    assert len(asked) == len(set(asked)) == POINTS - 2
    assert not {(0, 0), (2, 3)} & set(asked)
    assert set(asked[:5]) == {(0, 2), (0, 4), (1, 0), (1, 2), (1, 4)}


def test_the_file_grows_with_the_time(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """No point is saved by itself, but what is found is on disk within two seconds and a point."""
    clock, seen = [0.0], []

    def answers(points: Sequence[Index]) -> Iterator[Sequence[Index]]:
        for index in points:
            seen.append(known(scan))
            clock[0] += 0.9
            yield [index]

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    scan.compute(Given(answers), Report(quiet=True), StopRequest())
    assert seen == [i // 3 * 3 for i in range(POINTS)]
    assert known(scan) == POINTS


def test_a_request_to_stop_saves_what_is_there(scan: Scan) -> None:
    with pytest.raises(Stopped):
        scan.compute(Given(one_by_one), Report(quiet=True), StopAfter(4))
    assert known(scan) == 4
    assert load_results(scan.file.path).attrs["pace"] == "fast"


def test_workers_that_fail_lose_nothing(scan: Scan) -> None:
    def answers(points: Sequence[Index]) -> Iterator[Sequence[Index]]:
        yield points[:7]
        raise WorkError("all workers are gone")

    with pytest.raises(WorkError, match="gone"):
        scan.compute(Given(answers), Report(quiet=True), StopRequest())
    assert known(scan) == 7
    assert load_results(scan.file.path).attrs["pace"] == "fast"


@dataclass
class There(Here):
    """Where such workers are."""

    answers: Callable[[Sequence[Index]], Iterator[Sequence[Index]]]

    @contextmanager
    def workers(self, *_: object) -> Iterator[Given]:
        yield Given(self.answers)


def test_run_json_says_how_many_took_part(trained: Path) -> None:
    """Of a scan that fails, too."""

    def fails(_: Sequence[Index]) -> Iterator[Sequence[Index]]:
        yield []
        raise WorkError("all workers are gone")

    config = configured()
    setup = prepare(config, run_of(config, trained), "cpu")
    with setup.run.writing(config):
        with pytest.raises(WorkError, match="gone"):
            surface(ScanPlan(setup), Report(quiet=True), StopRequest(), There(fails))
        assert setup.run.record()["surface-main"]["processes"] == 2
        surface(ScanPlan(setup), Report(quiet=True), StopRequest())
        assert setup.run.record()["surface-main"]["processes"] == 1
        assert setup.run.record()["surface-main"]["status"] == "done"
