"""Fixtures of the tests with real processes and real damage."""

from pathlib import Path
from typing import Any

import pytest

from lossviz.probe.command import probe_training
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from lossviz.training.command import train
from tests.faults import tiny
from tests.faults.tiny import QUIET

# Long enough to be killed many times; every second step is saved.
LONG: dict[str, Any] = {
    "train": {"steps": 40, "checkpoint_every": 2, "eval_every": 10, "momentum": 0.9},
    "probe": {"every": 4},
}


@pytest.fixture(scope="session", name="undisturbed")
def _undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The long experiment after train, probe and surface, none of them disturbed."""
    setup = tiny.setup(tmp_path_factory.mktemp("undisturbed"), **LONG)
    train(setup, QUIET, StopRequest())
    probe_training(setup, QUIET, StopRequest())
    surface(ScanPlan(setup), QUIET, StopRequest())
    return setup


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the long experiment in tiny.yaml."""
    tiny.write(tmp_path, **LONG)
    monkeypatch.chdir(tmp_path)
    return tmp_path
