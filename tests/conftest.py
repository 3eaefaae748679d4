"""Fixtures that several folders of tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine and day; generous with time, because CI machines pause.
settings.register_profile("lossviz", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("lossviz")


@pytest.fixture(scope="session")
def cifar_root() -> str:
    """The folder that holds the real CIFAR-10; skips the test where there is none."""
    root = Path(__file__).parents[1] / "data"
    if not (root / "cifar-10-batches-py" / "data_batch_1").exists():
        pytest.skip(f"CIFAR-10 is not in {root}")
    return str(root)
