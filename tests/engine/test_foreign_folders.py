"""Folders that other tools saved: one file, or several with an index; never as code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lossviz.engine.foreign import load_foreign
from lossviz.errors import RequestError
from tests.engine.test_checkpoint import make_model, same
from tests.engine.test_foreign_checkpoint import Evil


def contiguous(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def sharded(folder: Path, suffix: str = "safetensors", stem: str = "model") -> dict[str, Tensor]:
    """A network in two files with their index, as transformers, diffusers and accelerate save it."""
    state, files = contiguous(make_model()), [f"{stem}-{k}-of-00002.{suffix}" for k in ("00001", "00002")]
    places = {name: files[k % 2] for k, name in enumerate(state)}
    save: Callable[[Any, Path], object] = safetensors.torch.save_file if suffix == "safetensors" else torch.save
    for file in files:
        save({name: state[name] for name, its in places.items() if its == file}, folder / file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    return state


@pytest.mark.parametrize("stem", ["model", "diffusion_pytorch_model", "mine"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_folders_of_several_files(tmp_path: Path, suffix: str, stem: str) -> None:
    state = sharded(tmp_path, suffix, stem)
    assert same(load_foreign(tmp_path), state)


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors", "any.safetensors"])
def test_folders_of_one_file(tmp_path: Path, name: str) -> None:
    state = contiguous(make_model())
    safetensors.torch.save_file(state, tmp_path / name)
    torch.save({}, tmp_path / "optimizer.pt")
    if name == "model.safetensors":
        torch.save({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert same(load_foreign(tmp_path), state)


def test_a_folder_of_torch_s_format(tmp_path: Path) -> None:
    torch.save(make_model().state_dict(), tmp_path / "pytorch_model.bin")
    assert same(load_foreign(tmp_path), dict(make_model().state_dict()))


def break_index(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.pop("weight_map"), "is no index of weights"),
        (lambda index: index.update(weight_map=[1]), "is no index of weights"),
        (
            lambda index: index["weight_map"].update(a="../b.safetensors"),
            r"names \.\./b\.safetensors, which",
        ),
        (lambda index: index["weight_map"].update(a="/b.safetensors"), r"names /b\.safetensors, which does not lie"),
        (lambda index: index["weight_map"].update(a="b.safetensors"), r"names b\.safetensors, which is not there"),
        (
            lambda index: index["weight_map"].update(a="model-00001-of-00002.safetensors"),
            r"says that a is in model-00001-of-00002\.safetensors, and it is not",
        ),
    ],
)
def test_a_wrong_index_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    sharded(tmp_path)
    break_index(tmp_path, change)
    (tmp_path.parent / "b.safetensors").write_bytes(safetensors.torch.save({"a": torch.ones(1)}))
    with pytest.raises(RequestError, match=f"index.json: {said}.*\n.*copy the whole folder again"):
        load_foreign(tmp_path)


def test_code_in_one_of_several_files_never_runs(tmp_path: Path) -> None:
    sharded(tmp_path, "bin")
    proof = tmp_path / "it ran"
    torch.save({"0.weight": torch.ones(1), "evil": Evil(proof)}, tmp_path / "model-00002-of-00002.bin")
    with pytest.raises(RequestError, match=r"00002\.bin: is not .* without running its code"):
        load_foreign(tmp_path)
    assert not proof.exists()


def test_folders_that_hold_none_or_several_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.py").touch()
    with pytest.raises(RequestError, match=r"is a folder without a checkpoint .*\n  accepted: a folder"):
        load_foreign(tmp_path)
    for name in ("a", "b"):
        safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(RequestError, match=r"holds 2 files of weights\n.*: .*a\.safetensors or .*b\.safetensors"):
        load_foreign(tmp_path)
