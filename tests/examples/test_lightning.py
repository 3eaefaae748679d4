"""A module of Lightning with a probe, against the same training without it."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lossviz.results import load_results
from tests.examples.example import EXAMPLES, code_of
from tests.faults.tiny import lossviz

lightning = pytest.importorskip("lightning", reason="Lightning is not installed: pip install '.[examples]'")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fitted(text: str) -> dict[str, Any]:
    """What the file of the example leaves, after one epoch of 18 steps."""
    settings = "max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False"
    lightning.seed_everything(0)
    namespace: dict[str, Any] = {}
    exec(text.replace("max_epochs=10", settings).replace("Digits(), loader", "module := Digits(), loader"), namespace)
    return namespace


def test_the_training_is_probed_and_stays_bitwise_the_same() -> None:
    text = code_of(EXAMPLES / "lightning").read_text(encoding="utf-8")
    probed = fitted(text)["module"].state_dict()
    plain = fitted(re.sub(r"callbacks=\[probe\], ", "", text))["module"].state_dict()
    assert all(torch.equal(probed[name], plain[name]) for name in plain)
    file = load_results(Path("runs/lightning/batchnorm/probe.nc"))
    assert file.step.values.tolist() == [0, 4, 8, 12, 16]
    answer = lossviz("plot", "runs/lightning")
    assert answer.status == 0 and list(Path("runs/lightning/figures").glob("*.png"))
