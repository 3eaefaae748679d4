"""A loss of the model, Datasets and batches of a person's own, through the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lossviz.results import load_results
from lossviz.run import Run
from tests.faults.tiny import lossviz

CODE = """
import torch
from torch import nn

class Points:
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        return {"inside": torch.rand(1), "edge": torch.tensor([float(index % 2)])}

def points():
    return Points(24), Points(12)

class Batches:  # of unknown length
    def __iter__(self):
        return iter([{"inside": torch.tensor([[i / 4]]), "edge": torch.ones(1, 1)} for i in range(3)])

def batches():
    return Batches(), Batches()

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    def forward(self, x):
        return self.layers(x)

def physics(model, batch):
    x = batch["inside"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    terms = {"pde": (slope - 2 * x).square().sum(1), "edge": (model(batch["edge"]) - batch["edge"]).square().sum(1)}
    return {"total": sum(terms.values()), **terms}

def weighed(model, batch):
    return {"total": (physics(model, batch)["total"], 1 + batch["edge"][:, 0])}

def scalar(model, batch):
    return physics(model, batch)["total"].mean()
"""
EXPERIMENT: dict[str, Any] = {
    "name": "mine",
    "data": {"target": "nets.py:points"},
    "model": {"target": "nets.py:Net"},
    "loss": {"target": "nets.py:physics"},
    "train": {"steps": 6, "batch_size": 8, "lr": 0.1, "eval_every": 3, "checkpoint_every": 3},
    "probe": {"every": 3, "lengths": [0.1], "measures": ["landscape", "activations", "shift"], "layers": [1, 2]},
    "surface": {"x": [-1, 1, 3], "metrics": ["gradient", "hessian"], "data": {"split": "both"}},
}
ALLOW = ("--allow", "nets.py")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(CODE)
    write()


def write(**sections: Any) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(EXPERIMENT | sections))


def done(*command: str) -> str:
    answer = lossviz(*command, *ALLOW)
    assert answer.status == 0, answer.err
    return answer.out


def test_a_physics_informed_network_from_training_to_figures() -> None:
    """Its terms are in every file, and add up."""
    done("probe", "mine.yaml")
    done("surface", "mine.yaml")
    assert lossviz("plot", "runs/mine").status == 0
    run = Run(Path("runs/mine/mine"))
    trained, scanned = load_results(run.train_file), load_results(run.surface_file("main"))
    for found, prefixes in ((trained, ("", "train_", "val_")), (scanned, ("", "test_"))):
        for prefix in prefixes:
            total = found[f"{prefix}loss_pde"] + found[f"{prefix}loss_edge"]
            np.testing.assert_allclose(found[f"{prefix}loss"], total, rtol=1e-6)
    assert float(scanned.loss.sel(x=0)) == pytest.approx(float(trained.train_loss[-1]), rel=1e-6)
    assert (scanned.loss_pde_stderr > 0).all()
    assert np.isfinite(scanned.hessian_max).all()
    probed = load_results(run.probe_file)
    np.testing.assert_allclose(probed.loss[:-1], trained.loss.sel(step=probed.step[:-1]), rtol=1e-6)


@pytest.mark.parametrize("loss", ["physics", "weighed"])
def test_pieces_of_a_minibatch_make_the_same_training(loss: str) -> None:
    """Also where examples weigh by counts."""
    found = []
    for pieces in ("all", "3"):
        done(
            "train",
            "mine.yaml",
            "--out",
            pieces,
            *_set("loss.target", f"nets.py:{loss}"),
            *_set("train.micro_batch", pieces),
        )
        found.append(load_results(Run(Path(pieces) / "mine" / "mine").train_file))
    for name in ("loss", "val_loss", *(["loss_pde"] if loss == "physics" else [])):
        np.testing.assert_allclose(found[1][name], found[0][name], rtol=1e-5)


def test_a_replay_meets_the_same_examples() -> None:
    """What they draw is a function of seed, step and row."""
    done("train", "mine.yaml")
    done("probe", "mine.yaml")
    run = Run(Path("runs/mine/mine"))
    trained, probed = load_results(run.train_file), load_results(run.probe_file)
    np.testing.assert_array_equal(probed.loss[:-1], trained.loss.sel(step=probed.step[:-1]))


def test_another_term_is_trained_on() -> None:
    done("train", "mine.yaml", *_set("loss.term", "edge"))
    found = load_results(Run(Path("runs/mine/mine")).train_file)
    assert {"loss_total", "loss_pde", "val_loss_total"} <= set(found)
    assert "loss_edge" not in found
    np.testing.assert_allclose(found.val_loss_total, found.val_loss + found.val_loss_pde, rtol=1e-6)


def test_batches_of_unknown_number_are_for_scans() -> None:
    done("train", "mine.yaml")
    checkpoint = sorted(Path("runs/mine/mine/checkpoints").glob("*.safetensors"))[-1]
    write(data={"target": "nets.py:batches"}, surface={"checkpoint": str(checkpoint), "x": [-1, 1, 3]})
    assert "each the mean over 3 train batches" in done("surface", "mine.yaml", "--out", "other")
    answer = lossviz("train", "mine.yaml", "--out", "other", *ALLOW)
    assert answer.status == 2
    assert "are for scans alone\n  accepted: for training a Dataset" in answer.err


@pytest.mark.parametrize(
    ("key", "target", "message"),
    [
        ("loss.target", "nets.py:scalar", "the loss: returned one number for the whole batch\n"),
        ("loss.term", "sum", "loss.term = sum: the loss has no term of that name\n  accepted: total, pde, edge"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_written(key: str, target: str, message: str) -> None:
    answer = lossviz("train", "mine.yaml", *ALLOW, *_set(key, target))
    assert answer.status == 2
    assert message in answer.err
    assert not Path("runs").exists()


def _set(key: str, value: str) -> tuple[str, str]:
    return "--set", f"{key}={value}"
