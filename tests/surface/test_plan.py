"""What a scan is of: splits, directions, batches, statistics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lossviz.engine.checkpoint import load_tensors
from lossviz.errors import RequestError
from lossviz.progress import Report
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from tests.surface.scans import configured, loss_of, same, scanned, surface_of


def test_both_splits(trained: Path) -> None:
    """Each is what a scan of it alone finds."""
    data = "surface.data.choose=first"
    scanned(trained, "surface.name=both", "surface.data.split=both", data)
    scanned(trained, "surface.name=train", data)
    scanned(trained, "surface.name=test", "surface.data.split=test", data)
    both, train, test = (surface_of(trained, name) for name in ("both", "train", "test"))
    for name in ("loss", "loss_stderr", "error"):
        np.testing.assert_array_equal(both[name], train[name])
        np.testing.assert_array_equal(both[f"test_{name}"], test[name])
    assert not np.array_equal(train.loss, test.loss)
    assert "test_loss" not in test


def test_directions_of_a_file_on_another_split(trained: Path) -> None:
    """So that several scans share a plane: the file is taken as it is."""
    setup = scanned(trained, "surface.data.choose=first")
    kind = f"surface.directions={{kind: file, path: {setup.run.directions_file('main')}}}"
    scanned(trained, "surface.name=other", kind, "surface.data.split=test", "surface.data.choose=first")
    scanned(trained, "surface.name=same", kind, "surface.data.choose=first")
    first, second = (load_tensors(setup.run.directions_file(name)) for name in ("main", "other"))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    same(surface_of(trained), surface_of(trained, "same"))
    other = surface_of(trained, "other")
    assert other.attrs["x_norm"] == surface_of(trained).attrs["x_norm"]
    assert float(other.loss.sel(x=0, y=0)) == pytest.approx(loss_of(setup, 3, "test"), rel=1e-5)


def test_one_example_alone_in_its_batch_is_refused(trained: Path) -> None:
    """It has no statistics of its own."""
    sizes = ("surface.batch_size=auto", "surface.statistics.batch_size=21", "surface.batch_norm=batch")
    with pytest.raises(RequestError, match=r"surface\.statistics\.batch_size = 21"):
        scanned(trained, *sizes)
    scanned(trained, *sizes, "surface.data.examples=63")


def loss_in_batches(setup: Setup, order: Tensor, size: int) -> float:
    """The loss with the statistics of consecutive minibatches, by plain torch."""
    model = setup.model().train()
    model.load_state_dict(load_tensors(setup.run.checkpoint_file(3)))
    losses = []
    with torch.no_grad():
        for few in order.split(size):
            inputs, targets = next(iter(setup.data.train.take(few).batches(size)))
            losses.append(torch.nn.functional.cross_entropy(model(inputs).double(), targets, reduction="none"))
    return float(torch.cat(losses).mean())


def test_minibatches_that_give_statistics_are_mixed(trained: Path) -> None:
    """Files are often sorted by class: a minibatch of one class has other statistics than any in training."""
    settings = ("surface.x=[-1, 1, 3]", "surface.y=null", "surface.data.examples=all", "surface.batch_norm=batch")
    config = configured(*settings, "surface.batch_size=auto", "surface.statistics.batch_size=64")
    setup = prepare(config, run_of(config, trained), "cpu")
    # As if 128 examples of two classes lay in two folders.
    few = [(setup.data.train.targets == label).nonzero()[:64, 0] for label in (0, 1)]
    ordered = replace(setup, data=replace(setup.data, train=setup.data.train.take(torch.cat(few))))
    with setup.run.writing(config):
        surface(ScanPlan(ordered), Report(quiet=True), StopRequest())
    draws = torch.Generator().manual_seed(0)
    mixed = [loss_in_batches(ordered, torch.randperm(128, generator=draws), 64) for _ in range(20)]
    within = max(mixed) - min(mixed)
    assert abs(loss_in_batches(ordered, torch.arange(128), 64) - np.mean(mixed)) > 2 * within
    assert float(surface_of(trained).loss.sel(x=0)) == pytest.approx(np.mean(mixed), abs=within)


@pytest.mark.parametrize("mode", ["frozen", "batch", "recalibrate"])
def test_the_sanity_of_a_scan_is_in_its_file(trained: Path, mode: str) -> None:
    """The centre of the grid is the checkpoint by the plain path, in every mode."""
    size = () if mode == "frozen" else ("surface.batch_size=auto", "surface.statistics={batch_size: 16, batches: 3}")
    scanned(trained, *size, f"surface.batch_norm={mode}", "surface.x=[-1, 1, 3]")
    found = surface_of(trained)
    np.testing.assert_allclose(found.checkpoint_loss[0], found.loss.sel(x=0, y=0), rtol=1e-5)
    assert "should agree" not in found.attrs["sanity"]
