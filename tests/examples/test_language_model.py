"""A causal language model of transformers, against each line alone, without padding."""

from pathlib import Path

import pytest
import torch

from tests.examples.example import copied, run_page, scanned

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install '.[examples]'")


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small Llama with weights, in a folder of Hugging Face's."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=384, **size)).save_pretrained("tiny-llama")


@pytest.mark.usefixtures("_folder")
def test_losses_are_means_over_tokens_whatever_the_padding() -> None:
    code = copied("language-model")
    Path("language-model.yaml").write_text(
        Path("language-model.yaml").read_text().replace("examples: 64", "examples: 12")
    )
    scan = scanned("language-model")
    model = scan.at(code.model("tiny-llama"), 1, -1)
    train, _ = code.data()
    total, count, lengths = 0.0, 0, set()
    for example in (train[i] for i in range(12)):
        tokens = example["input_ids"][: int(example["attention_mask"].sum())]
        scores = model(tokens[None]).logits[0].log_softmax(dim=1)
        total -= sum(float(scores[place, token]) for place, token in enumerate(tokens[1:]))
        count += len(tokens) - 1
        lengths.add(len(tokens))
    assert len(lengths) > 3
    assert scan.loss(1, -1) == pytest.approx(total / count, rel=1e-5)
    assert abs(scan.loss(0, 0) / scan.loss(1, -1) - 1) > 1e-4  # the point is another one


@pytest.mark.usefixtures("_folder")
def test_python_of_the_page() -> None:
    code = copied("language-model")
    code.data.__defaults__ = (12,)
    run_page("language-model")
