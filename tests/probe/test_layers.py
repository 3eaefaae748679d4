"""Layers of a person's own network, through the command line, against hooks that the test sets itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lossviz.engine.checkpoint import load_tensors
from lossviz.probe.layers import channel
from lossviz.results import load_results
from lossviz.seeding import seeded
from tests.faults.tiny import lossviz

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, frozen=False):
        super().__init__()
        self.late = nn.LayerNorm(6)
        self.three, self.two, self.one = nn.Linear(6, 2), nn.Linear(6, 6), nn.Linear(2, 6)
        self.never = nn.Linear(6, 6)
        self.two.requires_grad_(not frozen)
    def forward(self, inputs):
        tokens = torch.relu(self.late(self.one(torch.stack([inputs, inputs.flip(1), -inputs], dim=1))))
        return self.three(torch.relu(self.two(tokens))).mean(dim=1)

def points(count=24):
    inputs = torch.randn(count, 2)
    return (inputs, (inputs[:, 0] > 0).long()), (inputs[:4], (inputs[:4, 0] > 0).long())
"""


@pytest.fixture(name="experiment")
def _experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(CODE)
    return {
        "name": "mine",
        "data": {"target": "nets.py:points"},
        "model": {"target": "nets.py:Net"},
        "train": {"steps": 1, "batch_size": 24, "lr": 0.5, "checkpoint_every": 1},
        "probe": {"every": 1, "measures": ["shift", "activations"], "layers": [1, 2, 3]},
    }


def probe(experiment: dict[str, Any], *options: str) -> tuple[int, str]:
    Path("mine.yaml").write_text(yaml.safe_dump(experiment))
    answer = lossviz("probe", "mine.yaml", "--allow", "nets.py", "--quiet", *options)
    return answer.status, answer.err


@pytest.mark.parametrize("which", ["all", "drawn"])
def test_layers_are_those_of_the_data_flow(experiment: dict[str, Any], which: str) -> None:
    """Defined backwards, with a LayerNorm over tokens that was defined first, and one layer that is never called."""
    experiment["probe"]["channel"] = which
    assert probe(experiment) == (0, "")
    namespace: dict[str, Any] = {}
    exec(CODE, namespace)
    network = namespace["Net"]()
    network.load_state_dict(load_tensors(Path("runs/mine/mine/checkpoints/step-00000001.safetensors")))
    with seeded(torch.device("cpu"), 0, "own data"):
        (inputs, _), _ = namespace["points"]()
    with torch.no_grad():
        first = network.late(network.one(torch.stack([inputs, inputs.flip(1), -inputs], dim=1)))
        second = network.two(torch.relu(first))
        third = network.three(torch.relu(second))
    found = load_results(Path("runs/mine/mine/probe.nc")).isel(step=1)
    for i, values in enumerate((first, second, third)):
        unit = values if which == "all" else values[:, :, channel(0, i + 1, values.shape[-1])]
        np.testing.assert_allclose(found.activation_mean[i], unit.mean(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.activation_variance[i], unit.var(correction=0), rtol=1e-4)
    assert found.shift_l2[0] == 0
    assert (found.shift_l2[1:] > 0).all()


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_layers_that_cannot_be_measured_are_refused_before_anything_runs(
    experiment: dict[str, Any], options: list[str]
) -> None:
    experiment["model"]["args"] = {"frozen": True}
    assert probe(experiment, *options) == (
        2,
        "lossviz: probe.layers = [1, 2, 3]: shift needs layers that are trained; frozen: 2 (two)\n"
        "  accepted: 1, 3; or probe.measures without shift\n",
    )
    experiment["probe"]["layers"] = [4]
    status, message = probe(experiment, *options)
    assert (status, message.splitlines()[0]) == (2, "lossviz: probe.layers = [4]: the network has 3 weight layers")
    assert not Path("runs").exists()


def test_activations_of_a_frozen_layer(experiment: dict[str, Any]) -> None:
    experiment["model"]["args"] = {"frozen": True}
    experiment["probe"]["measures"] = ["activations"]
    assert probe(experiment) == (0, "")


def test_a_layer_that_a_pass_leaves_out_has_no_moments(experiment: dict[str, Any]) -> None:
    """Blocks that are skipped at random: the pass that finds the layers called it, the measured one does not."""
    skipping = CODE.replace("self.two(tokens)", "(self.two(tokens) if len(inputs) < 24 else tokens)")
    Path("nets.py").write_text(skipping.replace("[:4]", "").replace("[:4, 0]", "[:, 0]"))
    experiment["probe"]["measures"] = ["activations"]
    assert probe(experiment) == (0, "")
    found = load_results(Path("runs/mine/mine/probe.nc"))
    np.testing.assert_array_equal(found.activation_mean.isnull(), [[False, True, False]] * 2)
    assert (found.activation_histogram.sel(layer=2) == 0).all()
