"""Low-rank updates, against a transformer of timm whose weights are W + alpha / r B A."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.examples.example import copied, run_page, scanned

timm = pytest.importorskip("timm", reason="timm is not installed: pip install '.[examples]'")
pytest.importorskip("peft", reason="peft is not installed: pip install '.[examples]'")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_only_low_rank_updates_move_and_losses_are_those_of_merged_weights() -> None:
    code = copied("lora")
    scan = scanned("lora")
    moved = [name for name, direction in scan.directions()["x"].items() if direction.any()]
    assert len(moved) == 2 * 3 * 2 and all("lora_" in name for name in moved)
    adapted = scan.at(code.model(), 1, -1)
    weights = {name.removeprefix("base_model.model."): each for name, each in adapted.named_parameters()}
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=10, img_size=8, patch_size=2, in_chans=1, depth=2)
    for name, parameter in plain.double().eval().named_parameters():
        layer, kind = name.rsplit(".", 1) if "." in name else ("", name)
        within = {"head": ".modules_to_save.default", **dict.fromkeys(("qkv", "fc1", "fc2"), ".base_layer")}
        value: Tensor = weights[f"{layer}{within.get(layer.split('.')[-1], '')}.{kind}".lstrip(".")]
        if f"{layer}.lora_A.default.weight" in weights and kind == "weight":
            a, b = (weights[f"{layer}.lora_{each}.default.weight"] for each in "AB")
            value = value + 8 / 8 * b @ a  # alpha is 8 unless given
        parameter.data.copy_(value)
    (images, classes), _ = code.data()
    expected = cross_entropy(plain(images[:200].double()), classes[:200]).item()
    assert scan.loss(1, -1) == pytest.approx(expected, rel=1e-5)
    assert abs(scan.loss(0, 0) / expected - 1) > 1e-4


def test_python_of_the_page() -> None:
    code = copied("lora")
    code.data.__defaults__ = (20,)
    torch.manual_seed(0)
    run_page("lora")
