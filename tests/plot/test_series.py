from pathlib import Path

from lossviz.official import official_surface
from lossviz.plot.kit.style import look
from lossviz.plot.series import plotted_runs
from lossviz.run import Run
from tests.plot.conftest import VARIANTS, Build, drawings


def test_a_variant_looks_the_same_when_drawn_alone(build: Build) -> None:
    runs = [build.run(name) for name in VARIANTS]
    together = {each.label: each.look for each in plotted_runs(runs)}
    assert len(set(together.values())) == 3
    for run in runs:
        (alone,) = plotted_runs([run])
        assert alone.label == run.variant
        assert alone.look == together[run.variant]


def test_runs_of_several_experiments_have_their_own_looks_and_full_names(build: Build) -> None:
    runs = [build.run(name, experiment) for experiment in ("one", "two") for name in VARIANTS]
    shown = plotted_runs(runs)
    assert [each.label for each in shown] == [f"{run.experiment}/{run.variant}" for run in runs]
    assert len({each.look.colour for each in shown}) == 6
    assert len({(each.look.line, each.look.marker) for each in shown}) == 6


def test_variants_that_the_configuration_does_not_know_take_free_looks(build: Build) -> None:
    runs = [build.run(name) for name in VARIANTS]
    strays = [Run(run.folder.rename(run.folder.with_name(f"stray-{run.variant}"))) for run in runs[:2]]
    shown = plotted_runs([*strays, runs[2]])
    assert len({each.look for each in shown}) == 3
    assert shown[2].look == look(2)


def test_a_run_given_twice_is_drawn_once(build: Build) -> None:
    run = build.run()
    assert len(plotted_runs([run, Run(run.folder.parent / ".." / "quickstart" / "standard")])) == 1


def test_the_same_names_in_two_places_are_told_apart(build: Build, tmp_path: Path) -> None:
    runs = [build.run(), Build(tmp_path / "others").run()]
    assert [each.label for each in plotted_runs(runs)] == [str(run.folder) for run in runs]


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
