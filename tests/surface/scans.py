"""Scans of a small run, in this process."""

import signal
from itertools import count
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from lossviz.config import Config, read
from lossviz.engine.checkpoint import load_tensors, save_tensors
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan

# As the workers of a scan: other numbers of threads give other last digits.
torch.set_num_threads(1)

SMALL = (
    "model.width=0.0625",
    "train.steps=3",
    "train.batch_size=16",
    "surface.x=[-1, 1, 5]",
    "surface.y=[-0.5, 0.5, 3]",
    "surface.data.examples=64",
    "surface.batch_size=25",
    "surface.compile=false",
)

# Of a scan with an accuracy, whose coarse points are some of its points.
SAMPLED = (
    "surface.accuracy=10%",
    "surface.data.examples=1000",
    "surface.data.choose=stratified",
    "surface.x=[-1, 1, 7]",
    "surface.y=[-0.5, 0.5, 5]",
)


def configured(*settings: str) -> Config:
    return read("quickstart", (*SMALL, *settings), ("batchnorm",))[0]


def checkpointed(out: Path) -> Path:
    """A runs folder with a checkpoint whose BatchNorm statistics are not the initial ones."""
    setup = prepare(configured(), run_of(configured(), out), "cpu")
    model = setup.model()
    model.train()
    with torch.no_grad():
        model(next(iter(setup.data.train.batches(64)))[0])
    with setup.run.writing(setup.config):
        save_tensors(setup.run.checkpoint_file(3), model.state_dict())
    return out


def scanned(out: Path, *settings: str, stop: StopRequest | None = None) -> Setup:
    config = configured(*settings)
    setup = prepare(config, run_of(config, out), "cpu", precision=config.surface.precision)
    with setup.run.writing(config):
        surface(ScanPlan(setup), Report(quiet=True), StopRequest() if stop is None else stop)
    return setup


class StopAfter(StopRequest):
    """Asks to stop after a number of points; a scan looks once a point."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.looks, self.points = count(1), points

    def __bool__(self) -> bool:
        self.number = signal.SIGTERM if next(self.looks) >= self.points else 0
        return self.number != 0


def surface_of(out: Path, name: str = "main") -> xr.Dataset:
    return load_results(run_of(configured(), out).surface_file(name))


def same(first: xr.Dataset, second: xr.Dataset, but: tuple[str, ...] = ("seconds",)) -> None:
    """Every value bitwise the same."""
    assert set(first.variables) == set(second.variables)
    for name in set(first.variables) - set(but):
        np.testing.assert_array_equal(first[name].values, second[name].values, err_msg=str(name))


def checkpoint(out: Path, step: int, shift: float) -> None:
    """Another network of the run: the first one, with every tensor moved by its own amount."""
    run = run_of(configured(), out)
    draws = torch.Generator().manual_seed(step)
    tensors = load_tensors(run.checkpoint_file(3))
    moved = {
        name: tensor + shift * torch.rand(tensor.shape, generator=draws) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    save_tensors(run.checkpoint_file(step), moved)


def loss_of(setup: Setup, step: int, split: str = "train", examples: int = 64) -> float:
    """The loss of a checkpoint, by plain torch."""
    model, file = setup.model().eval(), setup.run.checkpoint_file(step)
    model.load_state_dict(load_tensors(file))
    data = getattr(setup.data, split)
    with torch.no_grad():
        outputs = model(data.normalise(data.inputs[:examples])).double()
    return float(torch.nn.functional.cross_entropy(outputs, data.targets[:examples]))
