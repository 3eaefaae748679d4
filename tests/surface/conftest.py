"""A run that can be scanned."""

from pathlib import Path

import pytest
import torch

from lossviz.engine.checkpoint import save_tensors
from lossviz.run import run_of
from lossviz.setup import prepare
from tests.surface.scans import configured


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A runs folder with a checkpoint whose BatchNorm statistics are not the initial ones."""
    setup = prepare(configured(), run_of(configured(), tmp_path), "cpu")
    model = setup.model()
    model.train()
    with torch.no_grad():
        model(next(iter(setup.data.train.batches(64)))[0])
    with setup.run.writing(setup.config):
        save_tensors(setup.run.checkpoint_file(3), model.state_dict())
    return tmp_path
