"""A run that can be scanned."""

from pathlib import Path

import pytest

from tests.surface.scans import checkpointed


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A runs folder with a checkpoint."""
    return checkpointed(tmp_path)
