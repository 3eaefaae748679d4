"""Networks of transformers through all commands: trained on text, with low-rank updates, scanned."""

import json
from pathlib import Path

import pytest
import torch

from lossviz.engine.checkpoint import load_tensors
from lossviz.results import load_results
from tests.faults import tiny
from tests.models.test_huggingface import TOKENS, saved

pytest.importorskip("peft", reason="needs lossviz[transformers]")

CONFIG = """
name: net
data: {target: "tokens.py:make"}
model:
  name: transformers/AutoModelForCausalLM
  path: folder
  lora: {r: 2, alpha: 4, targets: [q_proj, v_proj]}
train: {steps: 4, batch_size: 4, optimizer: adamw, lr: 0.01, eval_every: 2, checkpoint_every: 2}
probe: {every: 2, measures: [landscape, sharpness], lengths: [0.1]}
surface: {x: [-1, 1, 3], y: [-1, 1, 3], directions: {kind: random, parameters: {include: [lora_]}}}
"""
SCAN = """
name: scan
data: {target: "tokens.py:make"}
model: {name: transformers/AutoModelForCausalLM, path: folder}
surface: {checkpoint: folder, x: [0, 1, 2]}
"""
DATA = f"""
import torch

def make():
    inputs = torch.randint(0, {TOKENS}, (20, 6))
    targets = torch.cat([inputs[:, 1:], torch.full((20, 1), -100)], dim=1)
    return (inputs[:12], targets[:12]), (inputs[12:], targets[12:])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "folder")
    Path("c.yaml").write_text(CONFIG, encoding="utf-8")
    Path("tokens.py").write_text(DATA, encoding="utf-8")


def run(*arguments: str) -> None:
    answer = tiny.lossviz(*arguments, "--allow", "tokens.py")
    assert answer.status == 0, answer


def test_low_rank_updates_alone_are_trained_and_moved() -> None:
    for command in ("train", "probe", "surface"):
        run(command, "c.yaml")
    place = Path("runs/net/net")
    first, last = (load_tensors(place / "checkpoints" / f"step-0000000{step}.safetensors") for step in (0, 4))
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    assert changed
    assert all(".lora_" in name for name in changed)
    curves, probes, surface = (load_results(place / f"{name}.nc") for name in ("train", "probe", "surface-main"))
    assert curves.attrs["parameters"] == 2 * 112
    assert bool(probes.hessian_eigenvalue.notnull().all())
    assert all(".lora_" in name for name in surface.attrs["moved"].splitlines())
    centre = surface.sel(x=0, y=0)
    assert float(centre.loss) == pytest.approx(float(curves.train_loss.values[-1]), rel=1e-6)
    record = json.loads((place / "run.json").read_text())["train"]
    assert record["model_folder"].startswith("sha256:")
    assert {"transformers", "peft"} <= set(record["versions"])


def test_tied_weights_move_once_and_a_folder_is_a_checkpoint() -> None:
    Path("s.yaml").write_text(SCAN, encoding="utf-8")
    run("surface", "s.yaml")
    surface = load_results(Path("runs/scan/scan/surface-main.nc"))
    moved = surface.attrs["moved"].splitlines()
    assert "model.embed_tokens.weight" in moved
    assert "lm_head.weight" not in moved
    assert surface.attrs["checkpoint"] == "folder"
