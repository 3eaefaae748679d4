from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from typer.testing import CliRunner

from lossviz.cli import app
from lossviz.errors import RequestError
from lossviz.plot.draw import draw
from lossviz.plot.figures.residual import table
from lossviz.run import Run
from tests.plot.artists import labelled, legend, xs, ys
from tests.plot.conftest import Build
from tests.plot.networks import FIGURE_4, FIGURE_6, SMALL, curves, drawn, falling, members, row, run


def entries(ax: Axes) -> list[str]:
    box = ax.get_legend()
    assert box is not None
    return [text.get_text() for text in box.get_texts()]


def test_plain_networks_are_left_residual_ones_right_and_a_depth_has_one_colour(build: Build) -> None:
    kinds = [("d", "A", 32), ("a", "none", 20), ("b", "none", 32), ("c", "A", 20), ("e", "A", 44)]
    figure = drawn(*(run(build, *kind, falling()) for kind in kinds))
    plain, skipping = figure.axes
    assert entries(plain) == ["plain-20", "plain-32"]
    assert entries(skipping) == ["ResNet-20", "ResNet-32", "ResNet-44"]
    colours = {}
    for ax in figure.axes:
        for name in entries(ax):
            (thin,), (bold,) = (labelled(ax.lines, f"{name} {split}") for split in ("train", "val"))
            assert thin.get_linewidth() < bold.get_linewidth()
            assert to_hex(thin.get_color()) == to_hex(bold.get_color())
            colours[name] = to_hex(bold.get_color())
    assert colours["plain-20"] == colours["ResNet-20"]
    assert colours["plain-32"] == colours["ResNet-32"]
    assert len(set(colours.values())) == 3
    assert plain.get_ylim() == skipping.get_ylim()
    assert "training error (mean over 8 iterations)" in legend(figure)


def test_curves_are_means_of_the_minibatches_and_the_validation_errors(build: Build) -> None:
    rng = np.random.default_rng(0)
    training, validation = rng.uniform(20, 90, 200), rng.uniform(20, 90, 5)
    ax = drawn(run(build, "a", "none", 20, curves(training, validation))).axes[0]
    (thin,), (bold,) = (labelled(ax.lines, f"plain-20 {split}") for split in ("train", "val"))
    # 200 steps are averaged over 200 // 25 = 8.
    assert ys(thin) == pytest.approx([sum(training[8 * k : 8 * k + 8]) / 8 for k in range(25)])
    assert xs(thin) == [8 * k + 3.5 for k in range(25)]
    assert ys(bold) == list(validation)
    assert xs(bold) == [0, 50, 100, 150, 200]
    assert bold.get_marker() == "o"


def test_long_trainings_count_in_10_000_and_leave_out_the_first_errors(build: Build) -> None:
    training = np.where(np.arange(64000) < 3200, 80.0, 10.0)
    validation = np.where(np.arange(65) < 4, 81.0, 12.0)
    long = curves(training, validation, every=1000)
    figure = drawn(run(build, "a", "none", 20, long), run(build, "b", "A", 20, long))
    ax = figure.axes[0]
    (thin,), (bold,) = (labelled(ax.lines, f"plain-20 {split}") for split in ("train", "val"))
    assert (xs(thin)[0], ys(thin)[0], len(xs(thin))) == (319.5 / 1e4, 80, 100)
    assert xs(bold)[-1] == 6.4
    assert bold.get_marker() == "None"
    assert "10⁴" in ax.get_xlabel()
    # Twice the last validation error, with a margin.
    assert 24 <= ax.get_ylim()[1] < 26
    assert "training error (mean over 640 iterations)" in legend(figure)


def test_what_stays_high_is_seen(build: Build) -> None:
    high = curves(np.full(64000, 62.0), np.full(65, 63.0), every=1000)
    low = curves(np.full(64000, 8.0), np.full(65, 9.0), every=1000)
    assert drawn(run(build, "a", "none", 110, high), run(build, "b", "A", 110, low)).axes[0].get_ylim()[1] > 63


def test_a_divergence_ends_its_curves_and_its_last_step_does_not_count(build: Build) -> None:
    training = np.append(np.full(40, 80.0), 0.0)  # after the loss became infinite, nothing was predicted
    results = curves(training, [90, 70], every=20, steps=400, diverged_at=40)
    results.loss[-1] = np.inf
    other = curves(np.full(400, 30.0), np.full(5, 32.0), every=100)
    runs = run(build, "a", "none", 20, results), run(build, "b", "A", 20, other)
    figure = drawn(*runs)
    assert entries(figure.axes[0]) == ["plain-20 (diverged at step 40)"]
    crosses = labelled(figure.axes[0].lines, "diverged")
    assert [ys(each) for each in crosses] == [[80], [70]]
    assert all(each.get_marker() == "X" for each in crosses)
    assert not labelled(figure.axes[1].lines, "diverged")
    # 400 steps are averaged over 16; of the last 16 of this run, one is not known.
    assert row(table(members(*runs)), "plain-20")[3:6] == ["diverged at step 40", "80.00", "70.00"]


def test_a_training_that_goes_on_says_so_and_leaves_room(build: Build) -> None:
    partial = curves(np.full(120, 80.0), [90, 70, 60], steps=200)
    figure = drawn(run(build, "a", "none", 20, partial))
    assert entries(figure.axes[0]) == ["plain-20 (partial: 120 of 200 steps)"]
    assert figure.axes[0].get_xlim()[1] > 200


@pytest.mark.parametrize("recorded", [0, 1, 7])
def test_the_first_steps_are_a_figure_too(build: Build, recorded: int) -> None:
    results = curves(np.full(recorded, 80.0), [90], steps=64000)
    figure = drawn(run(build, "a", "none", 20, results), run(build, "b", "A", 20, results))
    figure.draw_without_rendering()
    assert figure.axes[0].get_ylim()[0] < 90 < figure.axes[0].get_ylim()[1]
    assert row(table(members(Run(build.out / "he" / "a"))), "plain-20")[4] == ("80.00" if recorded else "–")


def test_what_is_not_trained_yet_is_named_with_its_command(build: Build) -> None:
    begun = build.run("a", "he", [*SMALL, "model={name: resnet, depth: 20}", "variants={a: {}}"])
    with pytest.raises(RequestError, match=f"lossviz train {begun.config_file}"):
        draw([begun], figures=["residual"])


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
