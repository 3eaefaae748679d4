"""Run folders whose contents are known, without any training."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from numpy.typing import ArrayLike

from lossviz.config import read
from lossviz.config.reading import dump
from lossviz.plot.draw import chosen_figures
from lossviz.plot.figure import Drawings
from lossviz.plot.kit.style import look
from lossviz.plot.series import Options, Series, plotted_runs, probe_note, scan_note, training_note
from lossviz.plot.sources import find_sources
from lossviz.results import ProbeResults, SurfaceResults, TrainResults, save_results, variable
from lossviz.run import Run

VARIANTS = ("standard", "batchnorm", "noisy")


class Build:
    def __init__(self, out: Path) -> None:
        self.out = out

    def run(
        self,
        variant: str = "standard",
        experiment: str = "quickstart",
        settings: Sequence[str] = (),
        **files: xr.Dataset,
    ) -> Run:
        """A run folder; train and probe are train.nc and probe.nc, any other name is a surface."""
        run = Run(self.out / experiment / variant)
        run.folder.mkdir(parents=True)
        run.config_file.write_text(dump(read("quickstart", [f"name={experiment}", *settings], [variant])[0]))
        for name, results in files.items():
            file = {"train": run.train_file, "probe": run.probe_file}.get(name, run.surface_file(name))
            save_results(file, _named(results, name))
        return run

    def train(self, steps: int = 200, recorded: int = 200, diverged_at: int | None = None) -> xr.Dataset:
        step = np.arange(recorded)
        at = np.arange(0, recorded + 1, 25) if recorded else np.empty(0, int)
        by_step = {"loss": 2.0 / (1 + step), "accuracy": 90.0 * step / 200, "penalty": 0 * step, "lr": 0.1 + 0 * step}
        by_eval = {
            "train_loss": 2 / (1 + at),
            "val_loss": 3 / (1 + at),
            "train_error": 90 - at / 4,
            "val_error": 91 - at / 4,
        }
        return xr.Dataset(
            {name: variable("step", values, name, _units(name)) for name, values in by_step.items()}
            | {name: variable("eval_step", values, name, _units(name)) for name, values in by_eval.items()},
            coords={"step": variable("step", step, "step", "1"), "eval_step": variable("eval_step", at, "step", "1")},
            attrs={"steps": steps, **({} if diverged_at is None else {"diverged_at": diverged_at})},
        )

    def probe(
        self, factor: float = 1.0, steps: Sequence[int] = range(0, 201, 5), planned: int = 41, penalty: float = 0.0
    ) -> xr.Dataset:
        step, length = np.array(steps, dtype=int), np.array([0.05, 0.1, 0.2, 0.4])
        path = 1.0 + factor * np.outer(1 + np.sin(step) ** 2, length)
        values = {
            "path_loss": path,
            "path_penalty": np.full_like(path, penalty),
            "grad_distance": 3 * factor * path,
            "grad_cosine": 0 * path,
            "smoothness": 3 * factor * path / length,
        }
        return xr.Dataset(
            {name: variable(("step", "length"), array, name, "nat") for name, array in values.items()},
            coords={"step": variable("step", step, "step", "1"), "length": variable("length", length, "length", "1")},
            attrs={"planned": planned, "lr": 0.1, "configuration": configuration()},
        )

    def layered(
        self, steps: Sequence[int] = range(0, 201, 5), layers: Sequence[int] = (2, 9), width: float = 1.0
    ) -> xr.Dataset:
        """A probe of all measures but landscape: triangular histograms from -width to 3 width, in 64 bins."""
        step, layer = np.array(steps, dtype=int), np.array(layers)
        triangle = np.minimum(np.arange(64) + 1, 64 - np.arange(64)).astype(float)
        grid = np.ones((len(step), len(layer)))
        values = {
            "shift_l2": (("layer",), layer / (1.0 + step[:, None])),
            "shift_cosine": (("layer",), np.cos(step[:, None] / 50) / layer),
            "activation_mean": (("layer",), layer * step[:, None] / 100),
            "activation_variance": (("layer",), layer * grid),
            "activation_histogram": (("layer", "bin"), grid[..., None] * triangle),
            "activation_edge": (("layer", "edge"), grid[..., None] * np.linspace(-width, 3 * width, 65)),
            "hessian_eigenvalue": (("rank",), np.outer(1.0 + step, [1.0, 0.5])),
        }
        coords = {"layer": layer, "bin": np.arange(64), "edge": np.arange(65), "rank": np.array([1, 2])}
        return xr.Dataset(
            {name: variable(("step", *dims), array, name, "1") for name, (dims, array) in values.items()},
            coords={"step": variable("step", step, "step", "1")}
            | {name: variable(name, array, name, "1") for name, array in coords.items()},
            attrs={"planned": len(step), "lr": 0.1, "configuration": configuration()},
        )

    def surface(
        self, loss_at: Callable[[np.ndarray, np.ndarray], np.ndarray], x: int = 7, y: int = 5, done: int | None = None
    ) -> xr.Dataset:
        """A plane of x by y points; a line when y is 0; only the first `done` points are known."""
        axes = ({"y": np.linspace(-0.5, 0.5, y)} if y else {}) | {"x": np.linspace(-1, 1, x)}
        grid_y, grid_x = np.meshgrid(axes.get("y", np.zeros(1)), axes["x"], indexing="ij")
        loss = np.asarray(loss_at(grid_x, grid_y), dtype=float).reshape([len(axis) for axis in axes.values()])
        status = np.where(np.isfinite(loss), 1, 2)
        if done is not None:
            loss.flat[done:], status.flat[done:] = np.nan, 0
        values = {"loss": loss, "error": 10 * loss, "status": status.astype(np.int8)}
        return xr.Dataset(
            {name: variable(tuple(axes), array, name, _units(name)) for name, array in values.items()},
            coords={name: variable(name, axis, f"{name} (units of d)", "1") for name, axis in axes.items()},
        )

    def with_checkpoints(
        self, results: xr.Dataset, names: Sequence[str], x: Sequence[float], y: Sequence[float] | None = None
    ) -> xr.Dataset:
        """A scan that knows checkpoints: the k-th, from 1, has loss k, k / 2 at its projection, and distance k - 1."""
        count = 1.0 + np.arange(len(names))
        values: dict[str, ArrayLike] = {"x": x, "y": [] if y is None else y}
        values |= {"loss": count, "error": 10 * count, "plane_loss": count / 2, "distance": count - 1}
        found = {
            f"checkpoint_{name}": variable("checkpoint", each, name, _units(name))
            for name, each in values.items()
            if name != "y" or y
        }
        return results.assign(found).assign_coords(checkpoint=list(names))

    def series(self, *contents: xr.Dataset) -> list[Series]:
        """What `draw` makes of the contents of the same file of several runs."""
        return [
            Series(name, look(place), each, _note(each))
            for place, (name, each) in enumerate(zip(VARIANTS, contents, strict=False))
        ]


def _named(results: xr.Dataset, name: str) -> xr.Dataset:
    """A scan that says what it is called, where it says anything of its configuration."""
    tree = yaml.safe_load(results.attrs.get("configuration", ""))
    if not tree or "status" not in results:
        return results
    return results.assign_attrs(configuration=yaml.safe_dump({**tree, "surface": {**tree["surface"], "name": name}}))


def configuration(*settings: str) -> str:
    """As in the attribute of a result file."""
    return dump(read("quickstart", settings, ["standard"])[0])


def _units(name: str) -> str:
    return "nat" if name.endswith("loss") else "1"


def _note(results: xr.Dataset) -> str:
    if "status" in results:
        return scan_note(SurfaceResults(results))
    return training_note(TrainResults(results)) if "eval_step" in results.dims else probe_note(ProbeResults(results))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path / "runs")


@pytest.fixture
def pair(build: Build) -> list[Run]:
    plane, line = build.surface(lambda x, y: 1 + x**2 + y**2), build.surface(lambda x, _: 1 + x**2, y=0)
    return [build.run(name, train=build.train(), main=plane, fine=plane, cut=line) for name in ("standard", "noisy")]


def drawings(paths: Sequence[Path], *figures: str) -> dict[str, list[str]]:
    """The figures that folders or files make, and the labels in each."""
    runs, scans = find_sources([str(path) for path in paths])
    shown, options = plotted_runs(runs, scans), Options(scans=scans)
    found: Drawings = {}
    for kind in chosen_figures(figures, shown, options).values():
        found |= kind.drawings(shown, options)
    return {stem: [each.label for each in make.args[0]] for stem, make in found.items() if isinstance(make, partial)}
