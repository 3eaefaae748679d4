"""What a probe of checkpoints refuses; tests/training/test_loop.py has what it measures."""

from pathlib import Path

import pytest

from lossviz.config.measures import MEASURES
from lossviz.errors import RequestError
from lossviz.probe.command import plan_at_checkpoints, probe_checkpoints
from lossviz.signals import StopRequest
from lossviz.training.command import train
from tests.faults import tiny
from tests.faults.tiny import QUIET


@pytest.mark.parametrize("measure", MEASURES)
def test_checkpoints_hold_no_momentum(tmp_path: Path, measure: str) -> None:
    """Measures that need the optimiser's step are refused there, also by a dry run; the others are not."""
    momentum = {"momentum": 0.9, "steps": 4}
    setup = tiny.setup(tmp_path, train=momentum, probe={"measures": [measure], "layers": [2]})
    train(setup, QUIET, StopRequest())
    if measure not in ("shift", "critical-sharpness"):
        probe_checkpoints(setup, QUIET, StopRequest())
        assert setup.run.probe_file.exists()
        return
    for refused in (plan_at_checkpoints, lambda setup: probe_checkpoints(setup, QUIET, StopRequest())):
        with pytest.raises(RequestError, match=f"{measure} needs the optimiser's momentum"):
            refused(setup)
    assert not setup.run.probe_file.exists()
