from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from lossviz.errors import RequestError
from lossviz.official import official_surface
from lossviz.plot.draw import chosen_figures, draw
from lossviz.plot.figure import Drawings
from lossviz.plot.series import Options, plotted_runs
from lossviz.plot.sources import figures_folder, find_sources
from lossviz.run import Run
from tests.plot.conftest import VARIANTS, Build


@pytest.fixture
def pair(build: Build) -> list[Run]:
    plane, line = build.surface(lambda x, y: 1 + x**2 + y**2), build.surface(lambda x, _: 1 + x**2, y=0)
    return [build.run(name, train=build.train(), main=plane, fine=plane, cut=line) for name in ("standard", "noisy")]


def drawings(paths: Sequence[Path], *figures: str) -> dict[str, list[str]]:
    """The figures that folders or files make, and the labels in each."""
    runs, scans = find_sources([str(path) for path in paths])
    shown, options = plotted_runs(runs, scans), Options(scans=scans)
    found: Drawings = {}
    for kind in chosen_figures(figures, shown, options).values():
        found |= kind.drawings(shown, options)
    return {stem: [each.label for each in make.args[0]] for stem, make in found.items() if isinstance(make, partial)}


def test_folders_are_runs(pair: list[Run]) -> None:
    folder = str(pair[0].folder.parent)
    assert [run.variant for run in find_sources([folder])[0]] == ["standard", "noisy"]
    assert [run.variant for run in find_sources([folder], ["noisy"])[0]] == ["noisy"]
    assert find_sources([folder])[1] == ()


def test_scans_of_one_run_share_a_figure(pair: list[Run]) -> None:
    found = drawings([pair[0].surface_file("main"), pair[0].surface_file("fine")])
    assert found == {f"surface-main+fine-{kind}": ["main", "fine"] for kind in ("contour", "heatmap", "3d")}


def test_scans_of_other_names_in_other_runs_share_a_figure_in_the_order_given(pair: list[Run]) -> None:
    found = drawings([pair[1].surface_file("fine"), pair[0].surface_file("main"), pair[1].surface_file("main")])
    assert found["surface-fine+main-contour"] == ["noisy/fine", "standard/main", "noisy/main"]


def test_scans_of_one_name_are_called_after_their_runs(pair: list[Run]) -> None:
    found = drawings([run.surface_file("main") for run in pair])
    assert found["surface-main-contour"] == ["standard", "noisy"]


def test_many_names_are_counted(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y)
    run = build.run("standard", "quickstart", (), **dict.fromkeys("abcde", plane))
    assert "surface-a+b+c+2-heatmap" in drawings(run.surface_files)


def test_official_files_are_called_by_their_own_names(build: Build) -> None:
    paths = [build.out / folder / f"{name}.h5" for folder in ("resnet", "vgg") for name in ("main", folder)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(official_surface(build.surface(lambda x, y: 1 + x + y)))
    assert drawings(paths[:1])["surface-main-contour"] == ["main"]
    assert drawings(paths[:2])["surface-main+resnet-contour"] == ["main", "resnet"]
    assert drawings(paths)["surface-main+resnet+vgg-contour"] == ["resnet/main", "resnet", "vgg/main", "vgg"]


def test_lines_and_planes_are_drawn_apart(pair: list[Run]) -> None:
    found = drawings([pair[0].surface_file("main"), pair[0].surface_file("cut")])
    assert "surface-cut-line" in found
    assert "surface-main-contour" in found


def test_a_difference_of_two_files_or_of_two_runs(pair: list[Run]) -> None:
    assert set(drawings([pair[0].surface_file("main"), pair[0].surface_file("fine")], "difference")) == {
        "surface-main+fine-difference"
    }
    assert set(drawings([run.folder for run in pair], "difference")) == {
        "surface-main-difference",
        "surface-fine-difference",
    }


def test_a_difference_is_of_two(pair: list[Run]) -> None:
    with pytest.raises(RequestError, match="there are 1"):
        drawings([pair[0].folder], "difference")
    with pytest.raises(RequestError, match="there are 3"):
        drawings([*pair[0].surface_files], "difference")


def test_a_difference_needs_a_plane_of_the_same_name(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y)
    runs = [build.run("standard", a=plane), build.run("noisy", b=plane)]
    with pytest.raises(RequestError, match="no planes of one name in both runs"):
        draw(runs, figures=["difference"])


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


def test_new_figures_are_drawn_where_their_variables_are(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x**2 + y**2)
    curved = plane.assign(hessian_max=plane.loss, hessian_min=-plane.loss)
    path = build.with_checkpoints(plane, ["step 0", "step 5"], [0.5, 0], [0.5, 0]).assign_attrs(trajectory=1)
    runs = [build.run("standard", a=curved, b=path, c=plane), build.run("noisy", a=plane, b=plane)]
    found = drawings([run.folder for run in runs])
    assert found["surface-a-convexity"] == found["surface-b-trajectory"] == ["standard"]
    assert found["surface-b-contour"] == ["standard", "noisy"]
    assert len(found) == 11
    assert len(draw(runs, figures=["convexity", "trajectory"])) == 2


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("convexity", r"surface.metrics=\[hessian\]"),
        ("trajectory", "surface.directions={kind: pca}"),
        ("seeds", "surface.directions={kind: random, seed: 1}"),
    ],
)
def test_what_a_figure_lacks_is_named_with_its_command(build: Build, figure: str, said: str) -> None:
    run = build.run(main=build.surface(lambda x, y: 1 + x + y))
    with pytest.raises(RequestError, match=rf"lossviz surface {run.folder} --set .*{said}"):
        draw([run], figures=[figure])
    run.surface_file("main").unlink()
    with pytest.raises(RequestError, match=r"no surface-\*.nc"):
        draw([run], figures=[figure])


def test_of_many_scans_a_message_names_a_few(build: Build) -> None:
    plane = build.surface(lambda x, y: 1 + x + y)
    run = build.run("standard", "quickstart", (), **dict.fromkeys("abcdefgh", plane))
    with pytest.raises(RequestError, match=r"surface-d\.nc, surface-e\.nc and 3 more beside it$"):
        find_sources([str(run.surface_file("z"))])


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
