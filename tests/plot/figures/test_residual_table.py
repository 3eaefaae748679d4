from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lossviz.cli import app
from lossviz.plot.figures.residual_table import table
from tests.plot.conftest import Build
from tests.plot.networks import FIGURE_4, FIGURE_6, curves, falling, members, row, run


def test_the_table_has_the_last_and_the_best_errors_beside_the_published_ones(build: Build) -> None:
    # 64,000 steps are averaged over the last 640: half of them 1 %, half 2 %.
    training = np.concatenate([np.full(63680, 1.0), np.full(320, 2.0)])
    validation = np.full(65, 50.0)
    validation[[40, 50, -1]] = 8.25, 8.25, 8.75
    results = curves(training, validation, every=1000, parameters=1_727_962)
    text = table(
        members(
            run(build, "ours", "A", 110, results, FIGURE_6),
            run(build, "flat", "none", 110, results, FIGURE_6),
            run(build, "other", "B", 20, results, FIGURE_6),
        )
    )
    head = ["network", "run", "parameters", "iterations", "training error", "validation error", "best", "at"]
    published = ["Figure 6, training", "Figure 6, test", "Table 6, test", "akamaster, best"]
    assert row(text, "network") == [*head, *published]
    measured = ["1.73 M", "64,000", "1.50", "8.75", "8.25", "40,000"]
    assert row(text, "ResNet-110") == ["ResNet-110", "ours", *measured, "0.08", "6.55", "6.43 (6.61±0.16)", "6.32"]
    assert row(text, "plain-110") == ["plain-110", "flat", *measured, "–", "> 60", "–", "–"]
    assert row(text, "ResNet-20 B") == ["ResNet-20 B", "other", *measured, "–", "–", "–", "–"]
    assert "mean over the last 640" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


def test_the_table_of_imagenet_has_the_ten_crops_of_tables_2_and_3(build: Build) -> None:
    shapes = [("a", "none", 18), ("b", "A", 18), ("c", "none", 34), ("d", "A", 34), ("e", "B", 34), ("f", "C", 34)]
    runs = [run(build, *shape, falling(600_000), FIGURE_4) for shape in shapes]
    text = table(members(*runs))
    assert row(text, "network")[-3:] == ["Figure 4, training", "Figure 4, centre crop", "Tables 2 and 3, 10 crops"]
    names = ("plain-18", "ResNet-18", "plain-34", "ResNet-34", "ResNet-34 B", "ResNet-34 C")
    assert [row(text, name)[-1] for name in names] == ["27.94", "27.88", "28.54", "25.03", "24.52", "24.19"]
    assert row(text, "ResNet-34 C")[-3:-1] == ["–", "–"]


def test_without_a_counterpart_the_table_has_our_numbers_only(build: Build) -> None:
    text = table(members(run(build, "a", "none", 20, curves(np.full(200, 40.0), [90, np.nan, 50, 45, 50]))))
    assert row(text, "plain-20") == ["plain-20", "a", "–", "200", "40.00", "50.00", "45.00", "150"]
    assert "He et al." not in text
    assert "akamaster" not in text


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [(269_722, "0.27 M"), (21_282_024, "21.3 M"), (9_994_999, "9.99 M"), (10_000, "0.01 M"), (9_999, "9,999")],
)
def test_parameters_are_counted_in_millions(build: Build, parameters: int, shown: str) -> None:
    results = curves([50.0] * 4, [50.0], parameters=parameters)
    assert row(table(members(run(build, "a", "A", 20, results))), "ResNet-20")[2] == shown


def test_the_table_is_printed_and_saved_beside_the_figure(build: Build, tmp_path: Path) -> None:
    runs = [run(build, "a", "none", 20, falling()), run(build, "b", "A", 20, falling())]
    folder = tmp_path / "paper"
    command = ["plot", str(runs[0].folder.parent), "--figure", "residual", "--out", str(folder)]
    done = CliRunner().invoke(app, command)
    saved = (folder / "residual-table.md").read_text(encoding="utf-8")
    assert done.stdout == f"{folder / 'residual.png'}\n{folder / 'residual-table.md'}\n\n{saved}"
    assert saved == table(members(*runs))
    assert CliRunner().invoke(app, [*command, "--quiet"]).stdout == ""
