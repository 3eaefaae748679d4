"""What a sampled plane is said to cost where that is known, and that a network without its file is left out."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import accuracy
from lossviz.engine.checkpoint import save_tensors
from lossviz.run import run_of
from lossviz.setup import prepare
from tests.surface.scans import configured

PLANE = ("surface.x=[-1, 1, 7]", "surface.y=[-0.5, 0.5, 5]", "surface.data.examples=1000")


def test_an_accuracy_that_only_all_examples_reach_saves_nothing(tmp_path: Path) -> None:
    network = prepare(configured(), run_of(configured(), tmp_path), "cpu").model()
    file = tmp_path / "initial.safetensors"
    save_tensors(file, network.state_dict())
    plane = (*PLANE, f"surface.checkpoint={file}")
    exact = accuracy.measured(configured(*plane, "surface.accuracy=0.0001%"), 3)
    assert exact["seen"] == exact["points"] * exact["examples"] == 7 * 5 * 1000
    assert exact["times_fewer"] == 1
    assert accuracy.measured(configured(*plane, "surface.accuracy=20%"), 3)["times_fewer"] > 2


@pytest.mark.parametrize(("settings", "points"), [((), 35), (("surface.y=null",), 7)])
def test_an_accuracy_in_the_range_of_the_losses(tmp_path: Path, settings: tuple[str, ...], points: int) -> None:
    """A fifth of it is known from few; of a line too."""
    network = prepare(configured(), run_of(configured(), tmp_path), "cpu").model()
    file = tmp_path / "initial.safetensors"
    save_tensors(file, network.state_dict())
    config = configured(*PLANE, f"surface.checkpoint={file}", "surface.accuracy={range: 20%}", *settings)
    found = accuracy.measured(config, 2)
    assert found["points"] == points
    assert found["times_fewer"] > 2


def test_points_that_take_twice_as_many_as_then_make_twice_the_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them take 1,000 now; the others took what they took."""
    network = prepare(configured(), run_of(configured(), tmp_path), "cpu").model()
    file = tmp_path / "initial.safetensors"
    save_tensors(file, network.state_dict())
    monkeypatch.setattr(accuracy, "published", lambda *_: np.full((5, 7), 500.0))
    found = accuracy.measured(configured(*PLANE, f"surface.checkpoint={file}", "surface.accuracy=0.0001%"), 3)
    assert found["seen"] == 2 * 500 * 35


def test_a_network_without_its_file_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = accuracy.rows()
    assert accuracy.lines(rows) == [
        "resnet56: left out, there is no checkpoints/resnet56.t7",
        "resnet56-noshort: left out, there is no checkpoints/resnet56_noshort.t7",
    ]
    assert set(rows) == set(accuracy.WANTED)
