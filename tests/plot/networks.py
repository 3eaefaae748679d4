"""Runs of plain and residual networks whose training curves are known."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from lossviz.plot.figures.residual import draw_residual
from lossviz.plot.kit.networks import Network, families
from lossviz.plot.series import plotted_runs
from lossviz.results import variable
from lossviz.run import Run
from tests.plot.conftest import Build

RECIPE = "optimizer: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1.0e-4"
DROPS = "schedule: {{kind: step, milestones: [{}]}}"
FIGURE_4 = [
    "data={name: imagefolder, root: data, augment: he}",
    f"train={{steps: 600000, batch_size: 256, {RECIPE}, {DROPS.format('150000, 300000')}}}",
]
FIGURE_6 = [
    "data={name: cifar10, augment: crop-flip}",
    f"train={{steps: 64000, batch_size: 128, {RECIPE}, {DROPS.format('32000, 48000')}}}",
]
SMALL = ["data={name: digits}", "train={steps: 200, batch_size: 8, lr: 0.1}"]


def curves(
    training: Sequence[float] | np.ndarray,
    validation: Sequence[float] | np.ndarray,
    every: int = 50,
    steps: int | None = None,
    diverged_at: int | None = None,
    **attributes: int,
) -> xr.Dataset:
    """train.nc with these training errors at every step, and these validation errors at every so many."""
    error, at = np.array(training, dtype=float), every * np.arange(len(validation))
    by_step = {"loss": 0 * error, "accuracy": 100 - error, "penalty": 0 * error, "lr": 0 * error}
    by_eval = {"val_loss": 0.0 * at, "val_error": np.array(validation, dtype=float)}
    return xr.Dataset(
        {name: variable("step", values, name, "1") for name, values in by_step.items()}
        | {name: variable("eval_step", values, name, "1") for name, values in by_eval.items()},
        coords={"step": np.arange(len(error)), "eval_step": at},
        attrs=attributes
        | {"steps": steps or len(error)}
        | ({} if diverged_at is None else {"diverged_at": diverged_at}),
    )


def falling(planned: int = 200) -> xr.Dataset:
    """The first 200 of so many steps."""
    return curves(np.linspace(90, 30, 200), np.linspace(92, 32, 5), steps=planned)


def run(
    build: Build, variant: str, shortcut: str, depth: int, train: xr.Dataset, settings: Sequence[str] = SMALL
) -> Run:
    name = "resnet-imagenet" if settings is FIGURE_4 else "resnet"
    model = f"model={{name: {name}, depth: {depth}, shortcut: {shortcut}}}"
    return build.run(variant, "he", [*settings, model, f"variants={{{variant}: {{}}}}"], train=train)


def members(*runs: Run, reference: bool = False) -> list[Network]:
    (found,) = families(plotted_runs(runs), reference).values()
    return found


def drawn(*runs: Run, reference: bool = False) -> Figure:
    return draw_residual(members(*runs, reference=reference))


def row(markdown: str, network: str) -> list[str]:
    """The cells of a network's row, the first of them its name."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    return next((cells for cells in rows if cells[0] == network), [])
