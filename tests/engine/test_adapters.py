"""Low-rank updates that peft saved, put into the network that they belong to."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lossviz.config.model import Lora
from lossviz.engine.adapters import CONFIG
from lossviz.engine.checkpoint import fit, save_tensors
from lossviz.engine.foreign import load_foreign
from lossviz.errors import RequestError
from tests.models.test_huggingface import make, saved, tokens

peft = pytest.importorskip("peft", reason="needs lossviz[transformers]")
LORA = Lora(r=2, alpha=4, targets=("q_proj", "v_proj"))


def adapted(folder: Path, **options: Any) -> Any:
    """A network in folder/base with updates that were trained a little, saved by peft in folder/updates."""
    model = saved(folder / "base")
    settings = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], **options}
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    wrapped.save_pretrained(folder / "updates")
    return wrapped


def test_updates_alone(tmp_path: Path) -> None:
    theirs, model = adapted(tmp_path), make(tmp_path / "base", lora=LORA)
    before = model(tokens()).logits
    fit(model, load_foreign(tmp_path / "updates"), tmp_path / "updates")
    assert torch.equal(model(tokens()).logits, theirs(tokens()).logits)
    assert not torch.equal(model(tokens()).logits, before)


def test_a_checkpoint_of_a_run_has_all(tmp_path: Path) -> None:
    saved(tmp_path / "base")
    model, other = (make(tmp_path / "base", seed=seed, lora=LORA) for seed in (0, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    path = tmp_path / "a.safetensors"
    save_tensors(path, model.state_dict())
    fit(other, load_foreign(path), path)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_without_low_rank_updates_in_the_network(tmp_path: Path) -> None:
    adapted(tmp_path)
    model = make(tmp_path / "base")
    with pytest.raises(RequestError, match=r"updates: belongs to another network: .* is missing in the file"):
        fit(model, load_foreign(tmp_path / "updates"), tmp_path / "updates")


def refusal(folder: Path, lora: Lora = LORA, updates: str = "updates") -> str:
    with pytest.raises(RequestError) as caught:
        fit(make(folder / "base", lora=lora), load_foreign(folder / updates), folder / updates)
    return str(caught.value)


@pytest.mark.parametrize("updates", ["updates", "updates/adapter_model.safetensors"])
def test_another_scale_is_refused(tmp_path: Path, updates: str) -> None:
    """The tensors fit; the network would be another one."""
    adapted(tmp_path, lora_alpha=16)
    message = refusal(tmp_path, updates=updates)
    assert "adapter_config.json: has alpha / r = 8, and the network of this configuration 2\n" in message
    assert message.endswith("accepted: model.lora with r: 2 and alpha: 16")


def test_another_rank_or_layer_is_refused(tmp_path: Path) -> None:
    adapted(tmp_path, r=4, lora_alpha=8)
    assert "is (4, 16) in the file and (2, 16) in the network" in refusal(tmp_path)
    adapted(tmp_path, target_modules=["q_proj"])
    assert "v_proj.lora_A.default.weight (2, 16) is missing in the file" in refusal(tmp_path)


@pytest.mark.parametrize("options", [{"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}])
def test_other_kinds_of_updates_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    adapted(tmp_path, **options)
    assert "has updates of another kind" in refusal(tmp_path)


def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    adapted(tmp_path)
    for content in ("[]", "{", json.dumps({"r": 0, "lora_alpha": 4})):
        (tmp_path / "updates" / CONFIG).write_text(content)
        assert "says nothing of r and lora_alpha" in refusal(tmp_path)
