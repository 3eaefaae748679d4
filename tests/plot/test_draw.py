import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import Collection, QuadMesh
from matplotlib.contour import QuadContourSet
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from lossviz.errors import RequestError, WorkError
from lossviz.plot.draw import draw
from lossviz.plot.registry import FIGURES, load_figure
from lossviz.plot.series import Options, plotted_runs
from lossviz.results import save_results
from lossviz.run import Run
from tests.plot.conftest import VARIANTS, Build, configuration


@pytest.fixture
def complete(build: Build) -> list[Run]:
    plane, line = build.surface(lambda x, y: 1 + x**2 + y**2), build.surface(lambda x, _: 1 + x**2, y=0)
    return [build.run(name, train=build.train(), probe=build.probe(), main=plane, cut=line) for name in VARIANTS]


def test_everything_there_is_beside_the_runs(complete: list[Run]) -> None:
    paths = draw(complete)
    names = {
        "training",
        "landscape",
        "surface-main-contour",
        "surface-main-heatmap",
        "surface-main-3d",
        "surface-cut-line",
    }
    assert {path.name for path in paths} == {f"{name}.png" for name in names}
    assert {path.parent for path in paths} == {complete[0].folder.parent / "figures"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_only_the_figures_and_formats_asked_for(complete: list[Run], tmp_path: Path) -> None:
    paths = draw(complete, figures=["landscape"], formats=["pdf", "svg", "pdf"], folder=tmp_path / "paper")
    assert paths == [tmp_path / "paper" / "landscape.pdf", tmp_path / "paper" / "landscape.svg"]
    assert sorted(paths) == sorted((tmp_path / "paper").iterdir())


@pytest.mark.parametrize("kind", ["contour", "heatmap", "3d"])
def test_one_kind_of_surface_is_drawn_as_in_the_group(complete: list[Run], tmp_path: Path, kind: str) -> None:
    (alone,) = draw(complete, figures=[kind], folder=tmp_path / "alone")
    together = draw(complete, figures=["surface", kind], folder=tmp_path / "together")
    assert alone.name == f"surface-main-{kind}.png"
    assert len(together) == len(set(together)) == 4
    assert alone.read_bytes() == (tmp_path / "together" / alone.name).read_bytes()


@pytest.mark.parametrize(
    ("kind", "artist"), [("contour", QuadContourSet), ("heatmap", QuadMesh), ("3d", Poly3DCollection)]
)
def test_every_kind_is_what_it_is_called(complete: list[Run], kind: str, artist: type[Collection]) -> None:
    (make,) = load_figure(kind).drawings(plotted_runs(complete), Options()).values()
    assert all(any(isinstance(each, artist) for each in ax.collections) for ax in make().axes[:3])


def test_a_line_is_drawn_alone(complete: list[Run]) -> None:
    assert [path.name for path in draw(complete, figures=["line"])] == ["surface-cut-line.png"]


def test_the_same_results_give_the_same_bytes(complete: list[Run], tmp_path: Path) -> None:
    once, again = (
        draw(complete, figures=["landscape"], formats=["png", "pdf", "svg"], folder=tmp_path / name) for name in "ab"
    )
    for first, second in zip(once, again, strict=True):
        assert first.read_bytes() == second.read_bytes()
    # Two calls within the same second would hide a date.
    assert b"CreationDate" not in once[1].read_bytes()
    assert b"<dc:date>" not in once[2].read_bytes()
    assert b">standard</text>" in once[2].read_bytes()


def test_the_style_does_not_leak_nor_give_way(complete: list[Run], tmp_path: Path) -> None:
    (plain,) = draw(complete, figures=["training"], folder=tmp_path / "plain")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 30}):
        before = dict(mpl.rcParams)
        (styled,) = draw(complete, figures=["training"], folder=tmp_path / "styled")
        assert dict(mpl.rcParams) == before
    assert plain.read_bytes() == styled.read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"figures": ["training", "paths"]},
            r"no figure paths\n  figures: training, residual, .*, trajectory$",
        ),
        ({"figures": ["scalar"]}, r"no figure scalar; did you mean scalars\?\n  figures: "),
        ({"formats": ["jpg"]}, "no format jpg; did you mean png\\?\n  formats: png, pdf, svg"),
        ({"options": Options(clip=(2.0, 1.0))}, r"clip = \[2\.0, 1\.0\]"),
    ],
)
def test_wrong_requests_are_refused_by_name(complete: list[Run], options: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        draw(complete, **options)
    assert not (complete[0].folder.parent / "figures").exists()


def test_a_refused_request_writes_nothing(build: Build) -> None:
    run = build.run(train=build.train(), main=build.surface(lambda x, _: 0 * x))
    with pytest.raises(RequestError, match="cannot show the loss 0"):
        draw([run], options=Options(log=True))
    assert not (run.folder.parent / "figures").exists()


def test_several_experiments_share_a_figure(build: Build) -> None:
    runs = [build.run("standard", name, train=build.train()) for name in ("one", "two")]
    (path,) = draw(runs, formats=["svg"])
    assert path.parent == runs[0].folder.parent / "figures"
    assert all(f">{name}/standard</text>" in path.read_text() for name in ("one", "two"))


def test_names_of_a_line_and_of_a_plane_do_not_collide(build: Build) -> None:
    plane, line = build.surface(lambda x, y: 1 + x + y), build.surface(lambda x, _: 1 + x, y=0)
    run = build.run(main=plane)
    save_results(run.surface_file("main-contour"), line)
    assert len(set(draw([run]))) == 4


def test_a_name_may_be_a_plane_in_one_run_and_a_line_in_another(build: Build) -> None:
    runs = [
        build.run("standard", main=build.surface(lambda x, y: 1 + x + y)),
        build.run("noisy", main=build.surface(lambda x, _: 1 + x, y=0)),
    ]
    kinds = {path.stem.removeprefix("surface-main") for path in draw(runs)}
    assert kinds == {"-contour", "-heatmap", "-3d", "-line"}


def test_what_the_training_knows_of_a_divergence_is_said_of_the_probe(build: Build) -> None:
    probe = build.probe(steps=range(0, 90, 5), planned=18)
    run = build.run(train=build.train(recorded=88, diverged_at=87), probe=probe)
    (path,) = draw([run], figures=["landscape"], formats=["svg"])
    assert ">standard (diverged at step 87)</text>" in path.read_text()


def test_steep_partial_and_infinite_results_become_files(build: Build) -> None:
    train, probe = build.train(recorded=120), build.probe(steps=range(0, 50, 5))
    train.val_loss[-1], probe.path_loss[3:5, 2:] = np.inf, np.nan
    steep = build.surface(lambda x, y: np.where(x > 0.9, np.inf, np.exp(8 * x + y)), done=30)
    paths = draw([build.run(train=train, probe=probe, main=steep)], options=Options(clip=(0.1, 50)), formats=["pdf"])
    assert len(paths) == 5


def test_a_damaged_file_is_named(build: Build) -> None:
    run = build.run(train=build.train())
    run.train_file.write_bytes(run.train_file.read_bytes()[:-100])
    with pytest.raises(WorkError, match=r"train\.nc"):
        draw([run])


def test_the_help_names_every_figure() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "lossviz", "plot", "--help"], capture_output=True, text=True, check=True
    )
    assert set(FIGURES) <= set(re.findall(r"[a-z0-9]+", said.stdout))


def test_a_renamed_scan_is_drawn_and_named(build: Build) -> None:
    """`mv surface-main.nc surface-old.nc`; the other scans of the folder are drawn, too."""
    plane = build.surface(lambda x, y: 1 + x + y).assign_attrs(configuration=configuration())
    run = build.run(main=plane, fine=plane)
    run.surface_file("main").rename(run.surface_file("old"))
    said: list[str] = []
    names = {path.name for path in draw([run], figures=["heatmap"], say=said.append)}
    assert names == {"surface-old-heatmap.png", "surface-fine-heatmap.png"}
    old = run.surface_file("old")
    assert said == [f"warning: {old} says that it is scan main, and is drawn by the name of its file"]
