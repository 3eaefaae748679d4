"""Networks of transformers from local folders: the library's own numbers, and no code of a folder."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossviz.config.model import Lora, Transformers
from lossviz.errors import RequestError
from lossviz.models.build import build, count_parameters

transformers = pytest.importorskip("transformers", reason="needs lossviz[transformers]")
TOKENS = 97


def llama(**values: Any) -> nn.Module:
    settings = transformers.LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **values,
    )
    torch.manual_seed(3)
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(settings)
    return model


def saved(folder: Path, **options: Any) -> Any:
    """A small network of transformers and its folder."""
    model: Any = llama(tie_word_embeddings=True)
    model.save_pretrained(folder, **options)
    return model


def make(folder: Path, network: Any = "AutoModelForCausalLM", seed: int = 0, classes: int = TOKENS, **keys: Any) -> Any:
    return build(Transformers(name="transformers", network=network, path=str(folder), **keys), 5, classes, seed)


def refusal(folder: Path, **keys: Any) -> str:
    with pytest.raises(RequestError) as caught:
        make(folder, **keys)
    return str(caught.value)


def tokens() -> Tensor:
    return torch.randint(0, TOKENS, (2, 5), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "5KB"}])
def test_it_is_the_folder_s_network_bit_for_bit(tmp_path: Path, options: dict[str, str]) -> None:
    theirs = saved(tmp_path, **options)
    assert (tmp_path / "model.safetensors.index.json").exists() == bool(options)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    ours = make(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(ours) is type(theirs)
    assert ours.training
    assert torch.equal(ours(tokens()).logits, theirs(tokens()).logits)


def test_tied_weights_count_once(tmp_path: Path) -> None:
    saved(tmp_path)
    model = make(tmp_path)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert count_parameters(model) == sum(p.numel() for p in model.model.parameters())


def test_without_weights_the_seed_decides(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    one, same, other = (make(tmp_path, seed=seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_new_head_is_drawn_under_the_seed(tmp_path: Path) -> None:
    theirs = saved(tmp_path)
    one, same, other = (make(tmp_path, "AutoModelForSequenceClassification", seed, classes=3) for seed in (0, 0, 1))
    assert one.score.weight.shape == (3, 16)
    assert torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)
    assert torch.equal(one.model.embed_tokens.weight, theirs.model.embed_tokens.weight)


def test_a_head_for_other_classes_is_new(tmp_path: Path) -> None:
    saved(tmp_path / "base")
    four = make(tmp_path / "base", "AutoModelForSequenceClassification", classes=4)
    four.save_pretrained(tmp_path / "four")
    same, three = (make(tmp_path / "four", "AutoModelForSequenceClassification", classes=k) for k in (4, 3))
    assert torch.equal(same.score.weight, four.score.weight)
    assert three.score.weight.shape == (3, 16)
    assert torch.equal(three.model.embed_tokens.weight, four.model.embed_tokens.weight)


def test_values_instead_of_the_folder_s(tmp_path: Path) -> None:
    saved(tmp_path)
    assert make(tmp_path, args={"attention_dropout": 0.25}).config.attention_dropout == 0.25
    message = refusal(tmp_path, args={"atention_dropout": 0.25})
    assert message.startswith("model.args.atention_dropout = 0.25: is no key of ")
    assert message.endswith("did you mean attention_dropout?")
    for key in ("attn_implementation", "_attn_implementation", "auto_map"):
        assert refusal(tmp_path, args={key: "x"}).startswith(f"model.args.{key} = x: is no key of ")


def test_lora_trains_updates_alone_and_begins_at_the_network(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs lossviz[transformers]")
    theirs = saved(tmp_path)
    model = make(tmp_path, lora=Lora(r=2, alpha=4, targets=("q_proj", "v_proj")))
    trainable = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    assert len(trainable) == 2 * 2 * 2
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    # W (16, 16) and (8, 16) of two layers, each as B A: 2 * (16 + 16) + 2 * (8 + 16) = 112.
    assert count_parameters(model) == 2 * 112
    assert torch.equal(model(tokens()).logits, theirs(tokens()).logits)
    layer = model.model.layers[0].self_attn.q_proj
    up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    with torch.no_grad():
        up.normal_()
    inputs = torch.randn(3, 16)
    merged = layer.base_layer.weight + 4 / 2 * up @ down
    torch.testing.assert_close(layer(inputs), inputs @ merged.T)


def test_lora_of_all_layers_leaves_a_new_head_trainable(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs lossviz[transformers]")
    saved(tmp_path)
    model = make(tmp_path, "AutoModelForSequenceClassification", classes=3, lora=Lora())
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert "score.weight" in trainable
    assert len(trainable) == 1 + 2 * 7 * 2  # 7 linear layers in each of 2 blocks, A and B
    assert "lora" not in {name.split(".")[0] for name in trainable}


def test_layers_that_the_network_lacks(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="needs lossviz[transformers]")
    saved(tmp_path)
    message = refusal(tmp_path, lora=Lora(targets=("qkv",)))
    assert message.startswith("model.lora.targets = [qkv]: Target modules")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


EVIL = "from pathlib import Path\nPath({proof!r}).touch()\nclass Net: pass\nclass Config: pass\n"


@pytest.mark.parametrize("where", ["auto_map", "inner auto_map", "file", "file below"])
def test_code_of_a_folder_never_runs(tmp_path: Path, where: str) -> None:
    folder, proof = tmp_path / "net", tmp_path / "it ran"
    saved(folder)
    code = {"AutoConfig": "modeling_evil.Config", "AutoModelForCausalLM": "modeling_evil.Net"}
    if where == "auto_map":
        rewrite(folder, lambda values: values.update(auto_map=code, model_type="evil"))
    elif where == "inner auto_map":
        rewrite(folder, lambda values: values.update(text_config={"auto_map": code}))
    else:
        path = folder / ("inner/modeling_evil.py" if where == "file below" else "modeling_evil.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(EVIL.format(proof=str(proof)))
    message = refusal(folder)
    assert message.startswith(f"model.path = {folder}: ")
    assert ("auto_map names code" if "auto_map" in where else "holds code") in message
    assert not proof.exists()


def test_a_pickle_that_a_configuration_names_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm_wrapper hands arguments to timm.create_model, which loads a checkpoint_path: an old one as any pickle."""
    pytest.importorskip("timm", reason="needs lossviz[timm]")
    pickled, read = tmp_path / "weights.pth", list[object]()
    torch.save({}, pickled)
    monkeypatch.setattr(torch, "load", lambda *given, **_: read.append(given))
    values = {"model_type": "timm_wrapper", "architecture": "resnet18", "num_classes": TOKENS}
    for folder, of_folder, args in (
        (tmp_path / "folder", {"checkpoint_path": str(pickled)}, {}),
        (tmp_path / "args", {}, {"model_args": {"checkpoint_path": str(pickled)}}),
    ):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**values, "model_args": of_folder}))
        message = refusal(folder, network="AutoModelForImageClassification", args=args)
        assert "checkpoint_path names a file of weights" in message
    assert not read


def test_the_way_of_computing_is_not_the_folder_s(tmp_path: Path) -> None:
    """A value with a / names code on the Hub that the library would fetch."""
    saved(tmp_path)
    rewrite(tmp_path, lambda values: values.update(attn_implementation="somebody/kernel", experts_implementation="a/b"))
    assert make(tmp_path).config._attn_implementation in ("sdpa", "eager")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    model = saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    message = refusal(tmp_path)
    assert "holds its weights as pytorch_model.bin, which is a pickle" in message
    assert "save_pretrained" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values.pop("model_type"), "has a config.json without a model_type"),
        (lambda values: values.update(model_type="lama"), "has no model_type lama; did you mean llama?"),
        (lambda values: values.update(quantization_config={"bits": 4}), "holds quantised weights, which cannot move"),
        (lambda values: values.update(hidden_size=12), "has another shape there"),
        (lambda values: values.update(vocab_size=98), "has another shape there"),
        (lambda values: values.update(num_hidden_layers=3), "is missing in its weights"),
        (lambda values: values.update(model_type="vit"), "transformers refuses it"),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    saved(tmp_path)
    rewrite(tmp_path, change)
    assert said in refusal(tmp_path)


def test_what_is_no_folder_of_a_network(tmp_path: Path) -> None:
    assert "there is no such folder; nothing is downloaded" in refusal(Path("gpt2"))
    assert "config.json: cannot be read" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("[1")
    assert "has a config.json without a model_type" in refusal(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "holds an adapter and no network\n  accepted: merge it" in refusal(tmp_path)


def test_tokens_beyond_the_network_s(tmp_path: Path) -> None:
    saved(tmp_path)
    assert "has a network of 97 tokens, and those of the data go up to 255" in refusal(tmp_path, classes=256)


def test_the_library_s_switches_are_as_they_were(tmp_path: Path) -> None:
    constants, logging = import_module("huggingface_hub.constants"), transformers.utils.logging

    def switches() -> tuple[object, ...]:
        return constants.HF_HUB_OFFLINE, logging.get_verbosity(), logging.is_progress_bar_enabled()

    saved(tmp_path)
    before = switches()
    refusal(tmp_path, classes=256)
    make(tmp_path)
    assert switches() == before
