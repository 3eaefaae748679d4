from pathlib import Path

from lossviz.plot.kit.style import look
from lossviz.plot.series import plotted_runs
from lossviz.run import Run
from tests.plot.conftest import VARIANTS, Build


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
