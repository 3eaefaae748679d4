"""The arithmetic of the tables, on curves whose numbers are known."""

from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks import tables
from lossviz.results import save_results
from lossviz.run import Run
from tests.runs import configs


def trained(folder: Path, *overrides: str) -> Run:
    """15,000 steps with an accuracy of the step by 200, and a probe of every 50th whose range is 1 wide, then 2."""
    (config,) = configs(folder, *overrides)
    run = Run(folder / "exp" / "default")
    with run.writing(config):
        pass
    step = np.arange(15_000)
    evaluated = np.arange(0, 15_001, 1000)
    curves = xr.Dataset(
        {"accuracy": ("step", step / 200), "val_error": ("eval_step", 100 - evaluated / 1000)},
        coords={"step": step, "eval_step": evaluated},
    )
    save_results(run.train_file, curves)
    at, lengths = np.arange(0, 15_001, 50), np.array([0.05, 0.4])
    high = np.where(at < 2000, 2.0, 3.0)
    band = np.stack([np.ones_like(high), high], axis=1)
    probe = xr.Dataset(
        {
            **dict.fromkeys(("path_loss", "grad_distance", "smoothness"), (("step", "length"), band)),
            "path_penalty": (("step", "length"), np.full_like(band, 7.0)),
        },
        coords={"step": at, "length": lengths},
    )
    save_results(run.probe_file, probe)
    return run


def test_runs_and_papers_are_averaged_over_the_same_windows(tmp_path: Path) -> None:
    run = trained(tmp_path, "model.norm=batch", "train.lr=0.1")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables.batchnorm([run]).splitlines()]
    assert lines[0] == ["quantity", "steps", "default", "*paper*"]
    cells = {(quantity, steps): values for quantity, steps, *values in lines[2:]}
    # The means of 0 to 999 and of 10,000 to 14,999, by 200; the paper's as its own digitisation gives them.
    assert cells["minibatch accuracy, mean (%)", "0 to 1,000"] == ["2.5", "61.7"]
    assert cells["minibatch accuracy, mean (%)", "10,000 to 15,000"] == ["62.5", "98.8"]
    assert cells["test accuracy (%)", "5,000"] == ["5.0", "81.2"]
    assert cells["width of the loss range, median", "0 to 2,000"][0] == "1"
    assert cells["width of the loss range, median", "2,000 to 5,000"][0] == "2"
    assert cells["greatest gradient distance, peak", "all"] == ["3", "145"]
    assert cells["step of that peak", "all"] == ["2,000", "0"]
    assert cells["first minibatch with 90 %, of every 100th", "all"] == ["none until 14,900", "1,600"]


def test_a_window_that_a_run_has_not_finished_is_left_out(tmp_path: Path) -> None:
    run = trained(tmp_path, "model.norm=none", "train.lr=0.1")
    curves = xr.Dataset(
        {"accuracy": ("step", np.ones(2500)), "val_error": ("eval_step", np.ones(3))},
        coords={"step": np.arange(2500), "eval_step": np.arange(0, 2501, 1000)},
    )
    save_results(run.train_file, curves)
    found = [line for line in tables.batchnorm([run]).splitlines() if "minibatch accuracy" in line]
    assert [line.split("|")[3].strip() for line in found] == ["1.0", "1.0"]
