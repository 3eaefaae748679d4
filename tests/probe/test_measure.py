"""What holds for every measure of the table."""

from pathlib import Path

import numpy as np
import pytest

from lossviz.config.measures import MEASURES
from lossviz.config.probe import Probe
from lossviz.engine.train import train
from lossviz.probe import measures
from lossviz.probe.command import probe_checkpoints, probe_training
from lossviz.probe.measure import load_measures
from lossviz.probe.step import BASE
from lossviz.results import load_results
from lossviz.signals import StopRequest
from tests.faults import tiny
from tests.faults.tiny import QUIET

ALL = {"every": 4, "measures": list(MEASURES), "layers": [1, 2, 9]}
FILES = sorted(path for path in Path(measures.__path__[0]).glob("*.py") if path.stem != "__init__")


def test_every_file_is_in_the_table_and_every_entry_has_a_file() -> None:
    assert [path.stem for path in FILES] == sorted(name.replace("-", "_") for name in MEASURES)
    everything = load_measures(Probe(measures=tuple(MEASURES), layers=(1,)))
    names = [name for measure in everything for name in measure.variables]
    assert len({*names, *BASE}) == len(names) + len(BASE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_measure_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("norm", ["batch", "noisy-batch"])
def test_all_measures_along_a_training_and_at_its_checkpoints(tmp_path: Path, norm: str) -> None:
    """They write what they declare, are the same whenever they are taken, and leave no trace in the training."""
    along, after = (tiny.setup(tmp_path, out, model={"norm": norm}, probe=ALL) for out in ("along", "after"))
    probe_training(along, QUIET, StopRequest())
    train(after, QUIET, StopRequest())
    assert tiny.checkpoints(along.run) == tiny.checkpoints(after.run)
    probe_checkpoints(after, QUIET, StopRequest())
    assert tiny.results(along.run.probe_file) == tiny.results(after.run.probe_file)
    found, sizes = load_results(along.run.probe_file), {"layer": 3, "length": 2, "bin": 64, "edge": 65, "rank": 1}
    declared = dict(BASE)
    for measure in load_measures(along.config.probe):
        declared |= measure.variables
    assert set(found.data_vars) == set(declared)
    for name, each in declared.items():
        assert found[name].dims == ("step", *each.dims)
        assert found[name].shape == (4, *(sizes[dim] for dim in each.dims))
        assert found[name].dtype == np.float64
        assert (found[name].attrs["long_name"], found[name].attrs["units"]) == (each.long_name, each.units)
        assert np.isfinite(found[name]).all(), name
