"""A training of the real Trainer of transformers, of a causal language model on sequences of different lengths."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.errors import RequestError
from lossviz.loops.huggingface import probed
from lossviz.results import load_results
from tests.faults.tiny import flat

transformers = pytest.importorskip("transformers", reason="not installed: pip install transformers accelerate")
pytest.importorskip("accelerate", reason="not installed: pip install accelerate")

IGNORED = -100


def sequences() -> list[dict[str, Tensor]]:
    """Of 9 tokens, whose last ones do not count."""
    draws, found = torch.Generator().manual_seed(0), []
    for i in range(16):
        tokens = torch.randint(11, (9,), generator=draws)
        found.append({"input_ids": tokens, "labels": torch.where(torch.arange(9) < 4 + i % 5, tokens, IGNORED)})
    return found


def tokens(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Sums and counts of each sequence, of the next token's cross-entropy."""
    scores, following = model(input_ids=batch["input_ids"]).logits[:, :-1], batch["labels"][:, 1:]
    losses = functional.cross_entropy(scores.transpose(1, 2), following, reduction="none", ignore_index=IGNORED)
    return losses.sum(dim=1), (following != IGNORED).sum(dim=1)


def language_model() -> Any:
    torch.manual_seed(0)
    size = {"vocab_size": 11, "n_positions": 9, "n_embd": 8, "n_layer": 1, "n_head": 2}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**size, bos_token_id=0, eos_token_id=0))


def trainer_of(folder: Path, **settings: Any) -> Any:
    arguments = {
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "learning_rate": 0.01,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        **settings,
    }
    return transformers.Trainer(
        language_model(),
        transformers.TrainingArguments(output_dir=str(folder / "trainer"), **arguments),
        train_dataset=sequences(),
        eval_dataset=sequences(),
    )


def trained(folder: Path, probe: bool, **settings: Any) -> tuple[Any, list[object]]:
    """A Trainer after its training, and the weights."""
    trainer = trainer_of(folder, **settings)
    if not probe:
        trainer.train()
    else:
        measures = ["landscape", "critical-sharpness", "sharpness"]
        with probed(trainer, folder / "run", tokens, every=2, measures=measures):
            trainer.train()
        assert not {"train", "training_step", "evaluate"}.intersection(vars(trainer))
    return trainer, [flat(each) for each in trainer.model.state_dict().values()]


@pytest.mark.parametrize("settings", [{}, {"bf16": True, "gradient_accumulation_steps": 2}], ids=["plain", "mixed"])
def test_it_measures_and_records_and_changes_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    _, plain = trained(tmp_path, probe=False, **settings)
    trainer, weights = trained(tmp_path, probe=True, **settings)
    assert weights == plain
    found, curves = load_results(tmp_path / "run" / "probe.nc"), load_results(tmp_path / "run" / "train.nc")
    assert found.step.values.tolist() == [0, 2]
    assert found.attrs["precision"] == "float32"
    assert np.isfinite(found.critical_sharpness).all()
    assert curves.step.values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(curves.lr, [0.01, 0.0075, 0.005, 0.0025])
    logged = [each["eval_loss"] for each in trainer.state.log_history if "eval_loss" in each]
    assert (curves.eval_step.values.tolist(), curves.val_loss.values.tolist()) == ([2, 4], pytest.approx(logged))
    steps = [each["train_loss"] for each in trainer.state.log_history if "train_loss" in each]
    assert float(curves.loss.mean()) == pytest.approx(steps[0], rel=1e-5)


def test_in_mixed_precision_it_measures_in_that_of_the_parameters(tmp_path: Path) -> None:
    """accelerate puts autocast into the model's own forward pass."""
    losses = []
    for i, settings in enumerate(({}, {"bf16": True})):
        trained(tmp_path / str(i), probe=True, seed=3, **settings)
        losses.append(float(load_results(tmp_path / str(i) / "run" / "probe.nc").loss[0]))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_second_training_goes_on_or_is_another(tmp_path: Path, fresh: bool) -> None:
    """What `fresh` discards is older than the block."""
    trainer = trainer_of(tmp_path, save_strategy="steps", save_steps=3)
    with probed(trainer, tmp_path / "run", tokens, every=2, fresh=fresh):
        trainer.train()
        trainer.args.max_steps = 6
        trainer.train(resume_from_checkpoint=str(tmp_path / "trainer" / "checkpoint-3"))
        assert load_results(tmp_path / "run" / "probe.nc").step.values.tolist() == [0, 2]
        with pytest.raises(RequestError, match=r"is of another training: its loss at step 0(?s:.*)fresh=True"):
            trainer.train()
    assert load_results(tmp_path / "run" / "probe.nc").step.values.tolist() == [0, 2, 4]
    assert load_results(tmp_path / "run" / "train.nc").step.values.tolist() == list(range(6))


def test_reentrant_checkpoints_of_training_mode_are_refused(tmp_path: Path) -> None:
    for reentrant in (False, True):
        settings = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
        trainer = trainer_of(tmp_path / str(reentrant), **settings)
        with (
            probed(trainer, tmp_path / str(reentrant) / "run", tokens),
            pytest.raises(RequestError, match="use_reentrant=False") if reentrant else nullcontext(),
        ):
            trainer.train()
