"""Going on with a scan under other circumstances, or in another scan's plane."""

from pathlib import Path

import pytest

from lossviz.config.surface import Surface
from lossviz.errors import RequestError
from lossviz.progress import Report
from lossviz.results import TO_DO, load_results, save_results
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.signals import Stopped, StopRequest
from lossviz.surface.command import surface
from lossviz.surface.forward import ExecutionPlan
from lossviz.surface.plan import ScanPlan
from lossviz.surface.resume import unfollowed
from tests.surface.scans import StopAfter, configured, same, scanned, surface_of


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({}, []),
        ({"batch_size": 25, "compile": False}, []),
        ({"batch_size": 50}, ["surface.batch_size = 25"]),
        ({"batch_size": 50, "compile": True}, ["surface.batch_size = 25", "surface.compile = false"]),
    ],
)
def test_what_a_scan_that_goes_on_does_not_follow(asked: dict[str, int | bool], named: list[str]) -> None:
    said = unfollowed(ExecutionPlan(25), Surface.model_validate(asked))
    assert [part for part in ("surface.batch_size = 25", "surface.compile = false") if part in said] == named
    assert bool(said) == bool(named)


def test_a_scan_that_goes_on_with_other_batches_says_so_and_keeps_its_own(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_results(scanned(trained, "surface.name=whole").run.surface_file("whole"))
    with pytest.raises(Stopped):
        scanned(trained, stop=StopAfter(2))
    config = configured("surface.batch_size=50")
    surface(ScanPlan(prepare(config, run_of(config, trained), "cpu")), Report(), StopRequest())
    assert "resuming, 2 of 15 points are there; surface.batch_size = 25 as it began" in capsys.readouterr().out
    same(surface_of(trained), whole)
    assert surface_of(trained).attrs["batch_size"] == 25


@pytest.mark.parametrize(("settings", "kept"), [((), True), (("surface.directions.seed=9",), False)])
def test_checkpoints_that_were_measured_before_the_first_point_are_kept_for_the_same_scan(
    trained: Path, settings: tuple[str, ...], kept: bool
) -> None:
    """Another scan, whose checkpoints lie elsewhere, takes the place of one without points."""
    file = scanned(trained).run.surface_file("main")
    begun = surface_of(trained)
    begun.status[:] = TO_DO
    begun.checkpoint_loss[:] = 17.0  # nobody would find it
    save_results(file, begun)
    scanned(trained, *settings)
    assert bool((surface_of(trained).checkpoint_loss == 17).all()) == kept
    assert not (surface_of(trained).status == TO_DO).any()


def test_every_device_that_took_part_is_named_once(trained: Path) -> None:
    setup = scanned(trained)
    file, partial = setup.run.surface_file("main"), surface_of(trained)
    here = partial.attrs["device"]
    partial.status[0, 0] = 0
    save_results(file, partial.assign_attrs(device="cuda:0: another"))
    scanned(trained)
    assert surface_of(trained).attrs["device"] == f"cuda:0: another; {here}"


def test_a_scan_along_another_one_s_directions_is_in_the_same_plane(trained: Path) -> None:
    """By the checksum that the figure of the difference goes by."""
    first = scanned(trained)
    file = first.run.directions_file("main")
    scanned(trained, "surface.name=again", f"surface.directions={{kind: file, path: {file}}}")
    one, two = surface_of(trained), surface_of(trained, "again")
    assert one.attrs["directions_sha256"] == two.attrs["directions_sha256"]
    same(one, two)


DRAWN = ("surface.directions.keep=false", "surface.directions.kind=random")


def test_a_scan_whose_directions_are_drawn_again(trained: Path) -> None:
    """Bitwise the one that keeps them, also where it goes on; nothing but results is written."""
    scanned(trained, "surface.name=kept")
    with pytest.raises(Stopped):
        scanned(trained, *DRAWN, stop=StopAfter(4))
    setup = scanned(trained, *DRAWN)
    same(surface_of(trained), surface_of(trained, "kept"))
    assert not setup.run.directions_file("main").exists()
    assert not [path for path in setup.run.folder.iterdir() if path.name.startswith("tmp")]
    with pytest.raises(RequestError, match=r"keep = False, and now it is True"):
        scanned(trained)


def test_directions_that_are_drawn_otherwise_are_refused(trained: Path) -> None:
    with pytest.raises(Stopped):
        scanned(trained, *DRAWN, stop=StopAfter(4))
    file = run_of(configured(), trained).surface_file("main")
    save_results(file, surface_of(trained).assign_attrs(directions_sha256="x:of another release"))
    with pytest.raises(RequestError, match="this release of torch draws others"):
        scanned(trained, *DRAWN)


def test_a_scan_of_a_release_that_knew_no_keep_goes_on(trained: Path) -> None:
    with pytest.raises(Stopped):
        scanned(trained, stop=StopAfter(4))
    file, found = run_of(configured(), trained).surface_file("main"), surface_of(trained)
    older = str(found.attrs["configuration"]).replace("    keep: true\n", "")
    assert older != found.attrs["configuration"]
    save_results(file, found.assign_attrs(configuration=older))
    scanned(trained)
    assert bool((surface_of(trained).status == 1).all())
