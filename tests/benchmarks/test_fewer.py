"""Planes of few examples against planes whose losses are known."""

from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.fewer import certain_minima, compared
from lossviz.results import save_results
from lossviz.run import Run
from lossviz.surface.sampled.estimator import GROUPS


def plane(loss: np.ndarray, deviations: np.ndarray | float = 0.0, examples: int = 100) -> xr.Dataset:
    deviations = np.zeros((*loss.shape, GROUPS)) + deviations
    return xr.Dataset(
        {
            "loss": (("y", "x"), loss),
            "loss_stderr": (("y", "x"), np.linalg.norm(deviations, axis=-1)),
            "loss_deviation": (("y", "x", "group"), deviations),
            "examples": (("y", "x"), np.full(loss.shape, examples)),
            "precise_examples": (("y", "x"), np.full(loss.shape, examples)),
        },
        coords={axis: np.linspace(-1, 1, len(loss)) for axis in ("y", "x")},
        attrs={"examples": 1000},
    )


def test_a_minimum_is_certain_beyond_two_standard_errors_of_the_differences() -> None:
    """Losses of one hole of depth 1: errors that all points share do not matter, independent ones of 0.5 do."""
    loss = np.ones((5, 5))
    loss[2, 2] = 0.0
    generator = np.random.default_rng(0)
    assert certain_minima(plane(loss)) == 1
    assert certain_minima(plane(loss, generator.standard_normal(GROUPS))) == 1
    independent = generator.standard_normal((5, 5, GROUPS)) / GROUPS**0.5
    assert certain_minima(plane(loss, 0.2 * independent)) == 1  # two of 0.28 are less than 1
    assert certain_minima(plane(loss, 0.5 * independent)) == 0
    loss[0, 0] = -1.0
    assert certain_minima(plane(loss)) == 1  # nothing is known beyond the edge


def test_the_table_says_how_far_off_the_points_are(tmp_path: Path) -> None:
    run = Run(tmp_path / "experiment" / "variant")
    run.folder.mkdir(parents=True, exist_ok=True)
    truth = np.linspace(1, 2, 25).reshape(5, 5)
    few = truth.copy()
    few[0] *= 1.05
    few[1, 0] *= 0.5
    fine = np.full((9, 9), np.nan)
    fine[::2, ::2] = truth
    save_results(run.surface_file("main"), plane(fine))
    save_results(run.surface_file("few"), plane(few).assign_attrs(examples=10))
    rows = [line.strip("| ").split(" | ") for line in compared([run], "few").splitlines()]
    lines = {row[0].strip(): row[1].strip() for row in rows}
    assert lines["points more than 2% off"] == "24.0%"
    assert lines["points more than 10% off"] == "4.0%"
    assert lines["largest"].startswith("50%")
    assert lines["half of the points are off by more than"] == "0.0%"
    assert lines["points"] == "25"
    # The lowest tenth is three points of the first row, each 5 % higher, and no errors are known.
    assert lines["in the lowest tenth, median difference"] == "+5.0%"
    assert lines["within them in the lowest tenth"] == "0%"
    rms = np.sqrt((np.sum((0.05 * truth[0]) ** 2) + (0.5 * truth[1, 0]) ** 2) / 25)
    assert lines["differences, root mean square"] == f"{rms:.2g}"
    assert lines["standard errors of all, likewise"] == "0"
    assert lines["loss at the centre"] == "1.5, of all 1.5"
    few[2, 3] = np.nan
    save_results(run.surface_file("few"), plane(few).assign_attrs(examples=10))
    assert "| 24 " in compared([run], "few")
    assert "nan" not in compared([run], "few")
