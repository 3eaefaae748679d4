from collections.abc import Sequence
from pathlib import Path

import pytest

from lossviz.errors import RequestError, WorkError
from lossviz.plot.draw import draw
from lossviz.plot.series import plotted_runs
from lossviz.plot.sources import figures_folder, find_sources
from lossviz.run import Run
from tests.plot.conftest import VARIANTS, Build


def test_folders_are_runs(pair: list[Run]) -> None:
    folder = str(pair[0].folder.parent)
    assert [run.variant for run in find_sources([folder])[0]] == ["standard", "noisy"]
    assert [run.variant for run in find_sources([folder], ["noisy"])[0]] == ["noisy"]
    assert find_sources([folder])[1] == ()


@pytest.mark.parametrize("other", ["folder", "variant"])
def test_files_and_folders_are_not_mixed(pair: list[Run], other: str) -> None:
    paths = [str(pair[0].surface_file("main"))] + [str(pair[1].folder)] * (other == "folder")
    with pytest.raises(RequestError, match="not both"):
        find_sources(paths, ["noisy"] * (other == "variant"))


def test_what_is_no_scan_is_refused_with_those_that_are_there(pair: list[Run], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no such scan of a run\n.*surface-cut\.nc, .*surface-fine\.nc"):
        find_sources([str(pair[0].surface_file("coarse"))])
    with pytest.raises(RequestError, match="no such scan"):
        find_sources([str(pair[0].train_file)])
    with pytest.raises(RequestError, match="no such folder"):
        find_sources([str(tmp_path / "nowhere")])


def test_of_many_scans_a_message_names_a_few(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y)
    run = build.run("standard", "quickstart", (), **dict.fromkeys("abcdefgh", plane))
    with pytest.raises(RequestError, match=r"surface-d\.nc, surface-e\.nc and 3 more beside it$"):
        find_sources([str(run.surface_file("z"))])


@pytest.fixture
def runs(build: Build) -> list[Run]:
    return [build.run(name, train=build.train()) for name in VARIANTS] + [build.run("noisy", "other")]


def test_results_of_another_run_in_a_folder_are_named(build: Build) -> None:
    """They are whole: only what they say of themselves tells that files were swapped."""
    run = build.run("batchnorm", train=build.train().assign_attrs(experiment="quickstart", variant="standard"))
    with pytest.raises(WorkError, match=r"train\.nc: is of quickstart/standard, and should be of quickstart/batchnorm"):
        draw([run])


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
    assert figures_folder(plotted_runs([runs[each] for each in which])) == build.out / place


def test_a_run_named_from_its_own_folder(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs[1].folder)
    assert figures_folder(plotted_runs([Run(Path())])).resolve() == runs[1].folder / "figures"


def test_the_figure_of_one_run_leaves_that_of_the_experiment(runs: list[Run]) -> None:
    (all_three,) = draw(runs[:3])
    before = all_three.read_bytes()
    (alone,) = draw([runs[0]])
    assert alone == runs[0].folder / "figures" / "training.png"
    assert all_three.read_bytes() == before != alone.read_bytes()


def test_many_runs_are_counted(build: Build) -> None:
    runs = [build.run("standard", "many", ()), *(Run(build.out / "many" / f"{'v' * 30}{place}") for place in range(4))]
    for run in runs[1:]:
        run.folder.mkdir()
    Run(build.out / "many" / "rest").folder.mkdir()
    (build.out / "many" / "rest" / "config.yaml").touch()
    assert figures_folder(plotted_runs(runs)).name == "standard+4"
