"""What holds for every measure of the table, and for one that is added."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lossviz.config.measures import MEASURES
from lossviz.config.probe import Probe
from lossviz.engine.checkpoint import load_tensors
from lossviz.probe import measures
from lossviz.probe.command import probe_checkpoints, probe_training
from lossviz.probe.measure import load_measures
from lossviz.probe.step import BASE
from lossviz.results import load_results
from lossviz.signals import StopRequest
from lossviz.training.command import train
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


FILE = """
import torch

from lossviz.probe.measure import Measure, Variable


def largest_weight(step):
    weights = (step.objective.model.get_parameter(layer.parameters[0]) for layer in step.layers)
    return {"largest_weight": torch.stack([weight.detach().abs().max().double() for weight in weights])}


MEASURE = Measure(
    {"largest_weight": Variable(("layer",), "largest absolute weight", "1")}, largest_weight, further="a look"
)
"""
LINE = '    "largest-weight": Entry("largest absolute weight of each layer", layers=True),'


def test_a_new_measure_is_one_file_and_one_line(tmp_path: Path) -> None:
    """In a copy of the package: schema, refusals, dry run and result file know it, and nothing else is touched."""
    package = tmp_path / "lossviz"
    shutil.copytree(Path(sys.modules["lossviz"].__file__ or "").parent, package)
    (tmp_path / "configs").mkdir()
    (package / "probe" / "measures" / "largest_weight.py").write_text(FILE, encoding="utf-8")
    table = package / "config" / "measures.py"
    table.write_text(table.read_text(encoding="utf-8").removesuffix("}\n") + LINE + "\n}\n", encoding="utf-8")
    config = tiny.write(tmp_path, probe={"every": 12, "measures": ["largest-weight"], "layers": [1, 3]})

    def probe(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lossviz", "probe", config.name, *options]
        environment = {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)

    assert "largest-weight needs probe.layers" in probe("--set", "probe.layers=[]").stderr
    assert "forward and backward, and a look" in probe("--dry-run").stdout
    done = probe("--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    run = tmp_path / "runs" / "tiny" / "tiny"
    found, weights = load_results(run / "probe.nc"), load_tensors(run / "checkpoints" / "step-00000012.safetensors")
    assert found.largest_weight.dims == ("step", "layer")
    assert found.largest_weight[-1, 0] == float(weights["features.0.weight"].abs().max())
