"""Every number of a run of every odd network, against plain loops in float64.

Trained, interrupted and gone on with, probed on the way and afterwards, scanned in every mode of BatchNorm.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from lossviz.config import read
from lossviz.data.split import Split
from lossviz.engine.checkpoint import load_tensors
from lossviz.errors import RequestError
from lossviz.probe.command import probe_training
from lossviz.results import load_results
from lossviz.run import run_of
from lossviz.seeding import generator
from lossviz.setup import Setup, prepare
from lossviz.signals import Stopped, StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from lossviz.training.command import train
from lossviz.user_code.permissions import Allowed
from tests.faults import tiny
from tests.faults.tiny import QUIET, Interrupter
from tests.zoo import plain
from tests.zoo.networks import UNKNOWN, UNSAVED, ZOO

STEPS, EVERY, LENGTHS = 6, 3, (0.05, 0.4)
TREE: dict[str, Any] = {
    "name": "zoo",
    "data": {"target": "tests.zoo.networks:data"},
    "train": {"steps": STEPS, "batch_size": 8, "lr": 0.05, "momentum": 0.9, "precision": "float64"}
    | {"eval_every": EVERY, "checkpoint_every": EVERY, "eval_examples": "none"},
    "probe": {"every": EVERY, "lengths": list(LENGTHS)},
    "surface": {"x": [-0.5, 0.5, 3], "y": None, "data": {"examples": 23}, "compile": False}
    | {"statistics": {"batch_size": 7, "batches": 3}},
}
# SyncBatchNorm trains on GPUs only.
TRAINABLE = [name for name in ZOO if not name.startswith("Sync")]


def setup_of(network: str, out: Path, **scan: Any) -> Setup:
    tree = {**TREE, "model": {"target": "tests.zoo.networks:make", "args": {"name": network}}}
    tree["surface"] = {**TREE["surface"], **scan}
    file = out / "zoo.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(tree))
    allowed = Allowed(modules=frozenset({"tests.zoo.networks"}))
    (config,) = read(str(file), allowed=allowed)
    return prepare(config, run_of(config, out), "cpu", allowed)


def examples(split: object) -> plain.Batch:
    assert isinstance(split, Split)
    return split.inputs, split.targets


def batches(inputs: Tensor, targets: Tensor, size: int) -> list[plain.Batch]:
    return list(zip(inputs.double().split(size), targets.split(size), strict=True))


def loaded(setup: Setup, step: int) -> nn.Module:
    """A network that is built again from a checkpoint."""
    model = setup.model()
    model.load_state_dict(load_tensors(setup.run.checkpoint_file(step)))
    return model.eval()


@pytest.mark.parametrize("name", TRAINABLE)
def test_a_run(name: str, tmp_path: Path) -> None:
    setup = setup_of(name, tmp_path / "whole")
    test = batches(*examples(setup.data.test), 64)
    losses, states = plain.train(setup.model(), setup.minibatches(), STEPS, test, EVERY)
    with setup.run.writing(setup.config):
        probe_training(setup, QUIET, StopRequest())
    curves = load_results(setup.run.train_file)
    found = {int(step): float(loss) for step, loss in zip(curves.eval_step, curves.val_loss, strict=True)}
    assert found == pytest.approx(losses, rel=1e-9)
    for step, state in states.items():
        saved = load_tensors(setup.run.checkpoint_file(step))
        for key, tensor in state.items():
            torch.testing.assert_close(saved[key], tensor, rtol=1e-9, atol=1e-11)
    probed(name, setup)
    interrupted_and_replayed(name, setup, tmp_path / "pieces")
    scans(name, setup, tmp_path / "whole")


def probed(name: str, setup: Setup) -> None:
    """Measured along the gradient on the way."""
    results, minibatches = load_results(setup.run.probe_file), setup.minibatches()
    for step in (0,) if name in UNSAVED else (0, EVERY):
        losses, distances = plain.path(partial(loaded, setup, step), minibatches(step), LENGTHS)
        np.testing.assert_allclose(results.sel(step=step).path_loss, losses, rtol=1e-9)
        np.testing.assert_allclose(results.sel(step=step).grad_distance, distances, rtol=1e-6, atol=1e-12)


def interrupted_and_replayed(name: str, whole: Setup, out: Path) -> None:
    """Without a probe, in two pieces, and probed when all is over: bitwise the same."""
    pieces, stop = setup_of(name, out), StopRequest()
    with pieces.run.writing(pieces.config):
        if name not in UNSAVED:
            with pytest.raises(Stopped):
                train(pieces, QUIET, stop, Interrupter(stop, 4))
        train(pieces, QUIET, StopRequest())
        assert tiny.checkpoints(pieces.run) == tiny.checkpoints(whole.run)
        assert tiny.results(pieces.run.train_file) == tiny.results(whole.run.train_file)
        probe_training(pieces, QUIET, StopRequest())
    assert tiny.results(pieces.run.probe_file) == tiny.results(whole.run.probe_file)


def scans(name: str, setup: Setup, out: Path) -> None:
    """In every mode, of the last checkpoint."""
    inputs, targets = (each[:23] for each in examples(setup.data.train))
    order = torch.randperm(23, generator=generator(setup.config.seed, "surface order"))
    shuffled = batches(inputs[order], targets[order], 7)
    statistics = [setup.data.minibatches(7, setup.config.seed)(step).inputs for step in range(3)]
    depends = name == "BatchNorm without statistics"
    # Without a norm of the batch all modes are the network itself: tests/surface/test_batch_norm.py.
    plainly = name in ("GroupNorm", "no norm", "recurrent")
    for mode in ("frozen",) if plainly else ("frozen", "batch", "recalibrate"):
        scanned = setup_of(name, out, name=mode, batch_norm=mode)
        if mode != "frozen" and name in UNKNOWN:
            with pytest.raises(RequestError, match=f"surface.batch_norm = {mode}: would leave modules"):
                surface(ScanPlan(scanned), QUIET, StopRequest())
            continue
        with scanned.run.writing(scanned.config):
            surface(ScanPlan(scanned), QUIET, StopRequest())
        found = load_results(scanned.run.surface_file(mode))
        direction = load_tensors(scanned.run.directions_file(mode))
        along = {key.removeprefix("x/"): tensor for key, tensor in direction.items()}
        for x in (-0.5, 0.0, 0.5):
            model = plain.moved(loaded(setup, STEPS), along, x)
            if mode == "recalibrate":
                plain.recalibrated(model, statistics)
            elif mode == "batch":
                plain.by_batch(model)
            there = shuffled if mode == "batch" or depends else batches(inputs, targets, 64)
            loss, error = plain.mean_loss(model, there)
            at = found.sel(x=x)
            assert (float(at.loss), float(at.error)) == pytest.approx((loss, error), rel=1e-9), (mode, x)
        assert float(found.checkpoint_loss[0]) == pytest.approx(float(found.sel(x=0).loss), rel=1e-9)
        assert ("outputs for an example depend" in str(found.attrs["sanity"])) == (depends and mode != "batch")
