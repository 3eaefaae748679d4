"""What a dry run says of a scan with `surface.accuracy`."""

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lossviz.errors import RequestError
from lossviz.results import DONE
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.signals import Stopped
from lossviz.surface.cost import surface_lines, surface_time
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.lattice import Lattice
from lossviz.surface.sampled.plane import SamplingTask
from lossviz.surface.sampled.prediction import examples_at, predict
from lossviz.surface.sampled.sampling import PILOT, Accuracy
from tests.surface.scans import SAMPLED, StopAfter, configured, scanned, surface_of


@pytest.mark.parametrize("points", [[], ["surface.x=[-1, 1, 3]", "surface.y=null"]])
def test_a_dry_run_says_how_many_examples(trained: Path, points: list[str]) -> None:
    """As many as the scan then takes, within a factor; also where all points are coarse."""
    settings = (*SAMPLED, *points)
    config = configured(*settings)
    plan = ScanPlan(prepare(config, run_of(config, trained), "cpu"))
    (line,) = surface_time(plan)
    predicted = int(line.split("for some ")[1].split(" examples")[0].replace(",", ""))
    assert "at most 1,000 examples" in "\n".join(surface_lines(plan))
    scanned(trained, *settings)
    assert 0.4 < predicted / float(surface_of(trained).examples.sum()) < 2.5


def left(trained: Path, *settings: str) -> str:
    config = configured(*settings)
    return "".join(surface_time(ScanPlan(prepare(config, run_of(config, trained), "cpu"))))


def test_automatic_bounds_of_a_begun_scan_are_those_of_its_file(trained: Path) -> None:
    line = ("surface.directions={kind: gradient}", "surface.x=[auto, auto, 5]", "surface.y=null")
    with pytest.raises(Stopped):
        scanned(trained, *line, stop=StopAfter(2))
    assert surface_of(trained).x.values[[0, -1]].tolist() != [-1, 1]
    assert "for the 3 that are left" in left(trained, *line)
    scanned(trained, *line)
    assert left(trained, *line) == ""
    with pytest.raises(RequestError, match=re.escape("holds a scan with surface.y = null")):
        left(trained, *line[:2], "surface.y=[-1, 1, 3]")


def test_coarse_points_whose_samples_are_gone_are_left(trained: Path) -> None:
    coarse = (*SAMPLED, "surface.x=[-1, 1, 3]", "surface.y=null")
    scanned(trained, *coarse)
    fine = (*coarse, "surface.x=[-1, 1, 5]")
    assert "for the 2 that are left" in left(trained, *fine)
    shutil.rmtree(run_of(configured(*coarse), trained).samples_folder("main"))
    assert "for the 2 that are left" not in left(trained, *fine)


def test_a_dry_run_of_a_started_scan_counts_the_points_that_are_left(trained: Path) -> None:
    """By kind: coarse points take the most, and come first."""
    config = configured(*SAMPLED, "surface.accuracy=2%")
    plan = ScanPlan(prepare(config, run_of(config, trained), "cpu"))
    grid = Grid.empty((-1, 1, 35), None, ())
    plane = plan.plane(plan.subspace, plan.directions().vectors, Forward(plan.objective, ExecutionPlan(64)))
    whole = predict(plan, grid, plane).seen
    coarse = Lattice(grid.status.shape).points
    for index in coarse:
        grid.status[index] = DONE
    between = predict(plan, grid, plane).seen / (35 - len(coarse))
    assert (whole - between * (35 - len(coarse))) / len(coarse) > 1.2 * between
    for index in grid.todo()[1:]:
        grid.status[index] = DONE
    assert predict(plan, grid, plane).seen == pytest.approx(between)


def test_a_dry_run_knows_the_rule_of_three() -> None:
    """Losses of 0.01, all alike, ten classes, 2 %: their own error asks for few, and the rule for 3 log 10 / 0.0002."""
    generator = np.random.default_rng(0)
    losses = 0.01 * (1 + 0.2 * generator.standard_normal((PILOT, 2)))
    sampling = SamplingTask({}, Accuracy(relative=0.02), math.log(10))
    around = [losses, losses]
    assert examples_at(losses, 50_000, sampling, around, [0.5, 0.5]) == pytest.approx(
        3 * math.log(10) / 0.0002, rel=0.1
    )
    assert examples_at(losses / 10, 50_000, sampling, around, [0.5, 0.5]) == 50_000
    assert examples_at(losses, 50_000, replace(sampling, unseen_loss=0.0), around, [0.5, 0.5]) == PILOT
