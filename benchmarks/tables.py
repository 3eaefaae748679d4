"""The numbers of published figures beside those of runs, both by the same arithmetic, as Markdown.

python -m benchmarks.tables RUN [RUN ...]

RUN is a folder as `lossviz plot` takes them. The published numbers come from lossviz/plot/published. A cell is "–"
where there is nothing, or where a run has not come so far.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from io import StringIO
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.markdown import markdown
from benchmarks.planes import surfaces
from lossviz.results import load_results
from lossviz.run import Run, find_runs

Floats = NDArray[np.floating]
NOTHING, PAPER = "–", "*paper*"
# Steps that the paper's panels show apart: its first five thousands, then the end of the training.
ACCURACY = ((0, 1000), (1000, 2000), (2000, 3000), (4000, 5000), (10_000, 15_000))
LANDSCAPE = ((0, 2000), (2000, 5000), (5000, 10_000), (10_000, 15_000))
TESTED = (1000, 2000, 5000, 10_000, 15_000)
# In the names of the published files, by model.norm.
SANTURKAR = {"none": "std", "batch": "bn", "noisy-batch": "noisybn"}
# Iterations before which a training error is averaged, and where it is read off a published curve.
ITERATIONS: tuple[int, ...] = (8000, 16_000, 24_000, 32_000, 48_000, 64_000)
AVERAGED = 640
# Steps between the values of the curves of Santurkar et al.
BETWEEN = 100
# Their usual learning rate.
RATE = 0.1


@dataclass(frozen=True)
class Column:
    """A network as a paper or a run shows it: values against the step; `low` and `high` are the edges of a band."""

    name: str
    accuracy: tuple[Floats, Floats] | None = None
    tested: tuple[Floats, Floats] | None = None
    loss: tuple[Floats, Floats, Floats] | None = None
    distance: tuple[Floats, Floats, Floats] | None = None
    smoothness: tuple[Floats, Floats] | None = None
    layers: xr.Dataset = field(default_factory=xr.Dataset)


def batchnorm(runs: Sequence[Run]) -> str:
    """Santurkar et al. 2018, figures 1, 2 and 4: each run, and beside it its published counterpart."""
    columns = [column for run in runs for column in (_of_run(run), *_of_paper(run))]
    rows: list[list[str]] = []

    def add(quantity: str, steps: str, cells: Sequence[str]) -> None:
        own = [cell for cell, column in zip(cells, columns, strict=True) if column.name != PAPER]
        if set(own) != {NOTHING}:
            rows.append([quantity, steps, *cells])

    for window in ACCURACY:
        add("minibatch accuracy, mean (%)", _steps(window), [_mean(each.accuracy, window) for each in columns])
    add("first minibatch with 90 %, of every 100th", "all", [_first(each.accuracy, 90) for each in columns])
    for step in TESTED:
        add("test accuracy (%)", f"{step:,}", [_at(each.tested, step) for each in columns])
    for window in LANDSCAPE:
        add("width of the loss range, median", _steps(window), [_width(each.loss, window) for each in columns])
    for window in LANDSCAPE:
        add("greatest gradient distance, median", _steps(window), [_top(each.distance, window) for each in columns])
    peaks = [_peak(each.distance) for each in columns]
    add("greatest gradient distance, peak", "all", [height for height, _ in peaks])
    add("step of that peak", "all", [step for _, step in peaks])
    add("effective smoothness, median", "all", [_median(each.smoothness) for each in columns])
    add("effective smoothness, lowest to greatest", "all", [_range(each.smoothness) for each in columns])
    for layer in sorted({int(layer) for each in columns for layer in each.layers.get("layer", [])}):
        add(f"shift, layer {layer}: distance, median", "all", [_of_layer(each, "shift_l2", layer) for each in columns])
        add(
            f"shift, layer {layer}: cosine, median", "all", [_of_layer(each, "shift_cosine", layer) for each in columns]
        )
        moves = [_of_layer(each, "activation_mean", layer, between=True) for each in columns]
        add(f"mean of one activation, layer {layer}: change between probes, median", "all", moves)
    return markdown(["quantity", "steps", *(column.name for column in columns)], rows)


def residual(runs: Sequence[Run]) -> str:
    """He et al. 2015, figure 6: training and test error, %, on the way; of the paper, the nearest vertex."""
    rows = []
    for run in runs:
        results, model = load_results(run.train_file), run.config().model
        depth, kind = getattr(model, "depth", 0), "plain" if getattr(model, "shortcut", "") == "none" else "res"
        errors = 100 - results.accuracy.values
        ours = [_text(errors[at - AVERAGED : at].mean() if len(errors) >= at else np.nan, 2) for at in ITERATIONS]
        rows.append([f"{run.variant}, training", *ours])
        rows.append([f"*paper, figure 6, {kind}-{depth}*", *_published_errors(f"fig6_{kind}{depth}_train")])
        tested = [_at((results.eval_step.values, results.val_error.values), at, 2) for at in ITERATIONS]
        rows.append([f"{run.variant}, test", *tested])
        rows.append([f"*paper, figure 6, {kind}-{depth}*", *_published_errors(f"fig6_{kind}{depth}_test")])
    return markdown(["network, error in %", *(f"{at:,}" for at in ITERATIONS)], rows)


def _of_run(run: Run) -> Column:
    curves = load_results(run.train_file)
    probe = load_results(run.probe_file) if run.probe_file.exists() else xr.Dataset()
    loss = distance = smoothness = None
    if "path_loss" in probe:
        step = probe.step.values.astype(float)
        total = (probe.path_loss + probe.path_penalty).values
        loss = step, total.min(axis=1), total.max(axis=1)
        distance = step, probe.grad_distance.values.min(axis=1), probe.grad_distance.values.max(axis=1)
        smoothness = step, probe.smoothness.values.max(axis=1)
    tested = curves.eval_step.values.astype(float), 100 - curves.val_error.values
    accuracy = curves.step.values.astype(float), curves.accuracy.values
    return Column(run.variant, accuracy, tested, loss, distance, smoothness, probe)


def _of_paper(run: Run) -> list[Column]:
    """The published counterpart: figure 1 has two learning rates, the others 0.1, noisy BatchNorm figure 2 only."""
    config = run.config()
    name, lr = SANTURKAR.get(str(getattr(config.model, "norm", ""))), config.train.lr if config.train else 0.0
    if name is None or lr not in ((RATE,) if name == "noisybn" else (RATE, 0.5)):
        return []
    landscape = lr == RATE and name != "noisybn"
    training = f"fig2_trainacc_{name}" if name == "noisybn" else f"fig1a_trainacc_{name}_lr{lr:g}"
    published = Column(
        PAPER,
        _pair(f"santurkar_{training}"),
        None if name == "noisybn" else _pair(f"santurkar_fig1b_testacc_{name}_lr{lr:g}"),
        _triple(f"santurkar_fig4a_{name}") if landscape else None,
        _triple(f"santurkar_fig4b_{name}") if landscape else None,
        _pair(f"santurkar_fig4c_{name}") if landscape else None,
    )
    return [published]


def _published_errors(name: str) -> list[str]:
    iteration, error = _csv(f"he_{name}")
    return [_at((1e4 * iteration, error), at, 1, near=1000) for at in ITERATIONS]


def _csv(name: str) -> list[Floats]:
    text = (files("lossviz.plot.published") / f"{name}.csv").read_text(encoding="utf-8")
    return list(np.loadtxt(StringIO(text), delimiter=",", skiprows=1, unpack=True))


def _pair(name: str) -> tuple[Floats, Floats]:
    step, values = _even(name)
    return step, values


def _triple(name: str) -> tuple[Floats, Floats, Floats]:
    step, low, high = _even(name)
    return step, low, high


def _even(name: str) -> list[Floats]:
    """A published curve at every 100th step: vertices on a straight line are not in the PDF, and steps are as read."""
    step, *values = _csv(name)
    even = np.arange(0.0, step[-1] + BETWEEN / 2, BETWEEN)
    return [even, *(np.interp(even, step, each) for each in values)]


def _mean(curve: tuple[Floats, Floats] | None, window: tuple[int, int]) -> str:
    return _text(np.nan if curve is None else _within(curve[0], curve[1], window).mean(), 1)


def _width(band: tuple[Floats, Floats, Floats] | None, window: tuple[int, int]) -> str:
    return _text(np.nan if band is None else np.median(_within(band[0], band[2] - band[1], window)))


def _top(band: tuple[Floats, Floats, Floats] | None, window: tuple[int, int]) -> str:
    return _text(np.nan if band is None else np.median(_within(band[0], band[2], window)))


def _within(step: Floats, values: Floats, window: tuple[int, int]) -> Floats:
    # A window that a run has not finished has no number.
    first, last = window
    chosen = values[(step >= first) & (step < last)]
    return chosen if len(chosen) and step[-1] >= last - BETWEEN else np.array([np.nan])


def _first(curve: tuple[Floats, Floats] | None, least: float) -> str:
    if curve is None:
        return NOTHING
    step, values = curve
    if step[1] == 1:
        step, values = step[::BETWEEN], values[::BETWEEN]
    there = np.flatnonzero(values >= least)
    return f"{step[there[0]]:,.0f}" if len(there) else f"none until {step[-1]:,.0f}"


def _at(curve: tuple[Floats, Floats] | None, step: int, digits: int = 1, near: int = 60) -> str:
    if curve is None or not len(curve[0]):
        return NOTHING
    place = int(np.abs(curve[0] - step).argmin())
    return _text(curve[1][place] if abs(curve[0][place] - step) <= near else np.nan, digits)


def _peak(band: tuple[Floats, Floats, Floats] | None) -> tuple[str, str]:
    """The highest value, and the step at which it is."""
    if band is None:
        return NOTHING, NOTHING
    place = int(np.nanargmax(band[2]))
    return _text(band[2][place]), f"{band[0][place]:,.0f}"


def _median(curve: tuple[Floats, Floats] | None) -> str:
    return _text(np.nan if curve is None else np.nanmedian(curve[1]))


def _of_layer(column: Column, quantity: str, layer: int, *, between: bool = False) -> str:
    if quantity not in column.layers or layer not in column.layers.layer:
        return NOTHING
    values = column.layers[quantity].sel(layer=layer).values
    return _text(np.nanmedian(np.abs(np.diff(values)) if between else values))


def _range(curve: tuple[Floats, Floats] | None) -> str:
    return NOTHING if curve is None else f"{_text(np.nanmin(curve[1]))} to {_text(np.nanmax(curve[1]))}"


def _steps(window: tuple[int, int]) -> str:
    return f"{window[0]:,} to {window[1]:,}"


def _text(value: float | np.floating, digits: int | None = None) -> str:
    if not np.isfinite(value):
        return NOTHING
    return f"{value:.3g}" if digits is None else f"{value:.{digits}f}"


def main() -> None:
    """Print the tables that the runs have."""
    parser = argparse.ArgumentParser(description="published numbers beside those of runs")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    runs = [run for path in parser.parse_args().runs for run in find_runs(path)]
    kinds: dict[str, Callable[[Sequence[Run]], str]] = {"vgg": batchnorm, "resnet": residual}
    for name, table in kinds.items():
        trained = [run for run in runs if run.config().model.name == name and run.train_file.exists()]
        if trained:
            sys.stdout.write(table(trained) + "\n")
    if any(run.surface_files for run in runs):
        sys.stdout.write(surfaces(runs))


if __name__ == "__main__":
    main()
