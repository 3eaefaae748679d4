"""Means over the pixels that count, against a loop over all of them."""

from pathlib import Path

import pytest
import torch

from tests.examples.example import copied, run_page, scanned


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_losses_are_means_over_pixels_that_are_black_or_white() -> None:
    code = copied("segmentation")
    path = Path("segmentation.yaml")
    path.write_text(path.read_text().replace("examples: 500", "examples: 30"))
    scan = scanned("segmentation")
    model = scan.at(code.model(), 1, -1)
    (images, _), _ = code.data()
    (_, pixels), _ = code.data()
    losses = []
    for image, labels in zip(images[:30].double(), pixels[:30], strict=True):
        scores = -model(image[None])[0].log_softmax(dim=0)
        for row in range(8):
            for column in range(8):
                if labels[row, column] != 255:
                    losses.append(float(scores[labels[row, column], row, column]))
    grey = ((images[:30] > 0.25) & (images[:30] <= 0.5)).sum()
    assert grey > 100 and len(losses) == 30 * 64 - grey
    assert scan.loss(1, -1) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_python_of_the_page() -> None:
    code = copied("segmentation")
    code.data.__defaults__ = (30,)
    torch.manual_seed(0)
    run_page("segmentation")
