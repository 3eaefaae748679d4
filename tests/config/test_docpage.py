"""docs/configuration.md says what the schema says."""

import re
from pathlib import Path

import pytest

from lossviz.config import Config, read
from lossviz.config.directions import Gradient, Hessian, Pca, Random, Toward
from lossviz.config.docpage import page
from lossviz.config.model import Densenet, ImagenetResnet, Noise, Resnet, Torchvision, Vgg
from lossviz.config.surface import Statistics, Surface, SurfaceData
from lossviz.config.train import Plateau, Step, Train

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    again = "python -m lossviz.config.docpage > docs/configuration.md"
    assert PAGE.read_text(encoding="utf-8") == page(), f"the schema has changed; {again}"


@pytest.mark.parametrize(
    "model",
    [
        *(Config, Vgg, Resnet, ImagenetResnet, Densenet, Torchvision, Noise, Train, Step, Plateau),
        *(Surface, SurfaceData, Statistics, Random, Toward, Pca, Hessian, Gradient),
    ],
)
def test_every_key_has_a_row(model: type[Config]) -> None:
    text = page()
    for key, field in model.model_fields.items():
        if field.description and key not in ("variant", "siblings"):
            assert re.search(rf"^\| `{key}` \| .+ \| .+ \| .+ \|$", text, re.MULTILINE), key


@pytest.mark.parametrize(
    "row",
    [
        "| `checkpoints` | a list of 1 to 2 `last`, whole numbers of at least 0 or texts that are not empty | "
        "required | One for a line, two for a plane: last, steps of this run, or paths. |",
        "| `steps` | a whole number of at least 1 | required | Number of optimiser steps. |",
        "| `momentum` | a number of at least 0 and below 1 | `0.0` | Momentum of SGD. |",
        "| `depth` | `9`, `11`, `13`, `16` or `19` | `11` | Number of weight layers. |",
        "| `examples` | `all` or a whole number of at least 1 | `all` | Number of training examples that are used. |",
        "| `noise` | a mapping, see [model.noise](#modelnoise) | the defaults below "
        "| Scales of the noise of norm: noisy-batch and noise. |",
    ],
)
def test_rows(row: str) -> None:
    assert row in page().splitlines()


def test_tables_are_tables() -> None:
    """Every row has four columns, whatever its description holds."""
    rows = [line for line in page().splitlines() if line.startswith("|")]
    assert len(rows) > 60
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}


def test_links_lead_to_headings() -> None:
    text = page()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert set(links) <= anchors
    assert len([heading for heading in headings if heading == "model.noise"]) == 1


def test_the_example_of_the_introduction_is_right(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.+?)```", page(), re.DOTALL)
    assert example
    path = tmp_path / "c.yaml"
    path.write_text(example[1])
    configs = read(str(path), ["train.lr=0.05", "surface.x=[-1, 1, 25]", "variants.batchnorm.seed=1"])
    assert [(config.variant, config.seed) for config in configs] == [("standard", 0), ("batchnorm", 1)]
