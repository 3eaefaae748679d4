"""A folder of images, and how a test reads it."""

import json
from pathlib import Path

import pytest
import torch

from lossviz.config.data import ImageFolder
from lossviz.data.load import Dataset, load
from tests.data.photographs import Reading, write_tree


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_tree(tmp_path / "images")


@pytest.fixture
def reading(root: Path) -> Reading:
    def read(seed: int = 0, **keys: object) -> Dataset:
        given = {"name": "imagefolder", "root": str(root), "image_size": 32, "workers": 0, **keys}
        config = ImageFolder.model_validate_json(json.dumps(given))
        return load(config, seed).to(torch.device("cpu"), torch.float64)

    return read
