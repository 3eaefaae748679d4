from collections.abc import Sequence
from pathlib import Path

import pytest

from lossviz.plot.draw import draw
from lossviz.plot.place import figures_folder
from lossviz.plot.series import appearing
from lossviz.run import Run
from tests.plot.conftest import VARIANTS, Build


@pytest.fixture
def runs(build: Build) -> list[Run]:
    return [build.run(name, train=build.train()) for name in VARIANTS] + [build.run("noisy", "other")]


@pytest.mark.parametrize(
    ("which", "place"),
    [
        ([0, 1, 2], "quickstart/figures"),
        ([2, 1, 0, 3], "quickstart/figures"),
        ([1], "quickstart/batchnorm/figures"),
        ([0, 2], "quickstart/figures/standard+noisy"),
        ([0, 3], "quickstart/figures/quickstart-standard+other-noisy"),
        ([3], "other/figures"),
        ([3, 0], "other/figures"),
    ],
)
def test_only_figures_of_a_whole_experiment_go_beside_its_runs(
    build: Build, runs: list[Run], which: Sequence[int], place: str
) -> None:
    assert figures_folder(appearing([runs[each] for each in which])) == build.out / place


def test_a_run_named_from_its_own_folder(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs[1].folder)
    assert figures_folder(appearing([Run(Path())])).resolve() == runs[1].folder / "figures"


def test_the_figure_of_one_run_leaves_that_of_the_experiment(runs: list[Run]) -> None:
    (all_three,) = draw(runs[:3])
    before = all_three.read_bytes()
    (alone,) = draw([runs[0]])
    assert alone == runs[0].folder / "figures" / "training.png"
    assert all_three.read_bytes() == before != alone.read_bytes()


def test_many_names_are_counted(build: Build) -> None:
    runs = [build.run("standard", "many", ()), *(Run(build.out / "many" / f"{'v' * 30}{place}") for place in range(4))]
    for run in runs[1:]:
        run.folder.mkdir()
    Run(build.out / "many" / "rest").folder.mkdir()
    (build.out / "many" / "rest" / "config.yaml").touch()
    assert figures_folder(appearing(runs)).name == "standard+4"
