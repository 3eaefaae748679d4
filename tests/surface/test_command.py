"""A scan of a run: its centre, its protocol, and going on."""

import os
import signal
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
import xarray as xr

from lossviz.engine.checkpoint import fit, load_tensors, save_tensors
from lossviz.engine.objective import Objective
from lossviz.errors import RequestError, WorkError
from lossviz.progress import Report
from lossviz.results import load_results, save_results
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.signals import Stopped, StopRequest, deferred
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from lossviz.surface.plane import LossPlane
from lossviz.surface.workers import Here
from tests.surface.scans import StopAfter, configured, same, scanned, surface_of


def test_the_centre_is_the_checkpoint(trained: Path) -> None:
    """Bit for bit what the engine finds when it evaluates the checkpoint."""
    setup = scanned(trained)
    model, file = setup.model(), setup.run.checkpoint_file(3)
    fit(model, load_tensors(file), file)
    examples = setup.data.train.choose(64, "stratified", 0)
    direct = Objective(model).evaluate(examples.batches(25))
    centre = load_results(setup.run.surface_file("main")).sel(x=0, y=0)
    assert (float(centre.loss), float(centre.error)) == (direct.loss, direct.error)
    assert float(centre.loss_stderr) == direct.loss_stderr


def test_points_are_the_checkpoint_plus_the_saved_directions(trained: Path) -> None:
    """Recomputed tensor by tensor from the files alone, as the owner of a plot would check it."""
    setup = scanned(trained)
    results = load_results(setup.run.surface_file("main"))
    directions = load_tensors(setup.run.directions_file("main"))
    model, file = setup.model(), setup.run.checkpoint_file(3)
    ((inputs, targets),) = setup.data.train.choose(64, "stratified", 0).batches(64)
    for x, y in ((1.0, -0.5), (-0.5, 0.5)):
        fit(model, load_tensors(file), file)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.add_(x * directions[f"x/{name}"] + y * directions[f"y/{name}"])
            outputs = model.eval()(inputs).double()
        loss = torch.nn.functional.cross_entropy(outputs, targets)
        np.testing.assert_allclose(results.loss.sel(x=x, y=y), loss, rtol=1e-5)
    flat = {
        axis: torch.cat([directions[f"{axis}/{n}"].flatten().double() for n, _ in model.named_parameters()])
        for axis in "xy"
    }
    np.testing.assert_allclose(results.attrs["x_norm"], flat["x"].norm(), rtol=1e-6)
    cosine = flat["x"] @ flat["y"] / flat["x"].norm() / flat["y"].norm()
    np.testing.assert_allclose(results.attrs["cosine"], cosine, rtol=1e-5)


@pytest.mark.parametrize("points", [1, 7, 15])
def test_interrupted_and_continued(trained: Path, points: int) -> None:
    """The partial file says what is done; going on ends in the file of an undisturbed scan, its sanity report too."""
    whole = load_results(scanned(trained, "surface.name=whole").run.surface_file("whole"))
    with pytest.raises(Stopped):
        scanned(trained, stop=StopAfter(points))
    partial = surface_of(trained)
    assert int((partial.status == 1).sum()) == points
    assert np.isnan(partial.loss.values[partial.status == 0]).all()
    assert "sanity" not in partial.attrs
    scanned(trained)
    same(surface_of(trained), whole)
    assert surface_of(trained).attrs["sanity"] == whole.attrs["sanity"]


def test_nothing_left_to_do(trained: Path) -> None:
    setup = scanned(trained)
    before = setup.run.surface_file("main").read_bytes()
    scanned(trained)
    assert setup.run.surface_file("main").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("surface.x=[0, 1, 5]", "surface.x"),
        ("surface.x=[-1, 1, 4]", "surface.x"),
        ("surface.y=null", "surface.y = a range, and now it is null"),
        ("surface.directions.seed=5", "seed"),
        ("surface.data.examples=32", "examples"),
    ],
)
def test_another_scan_of_the_same_name_is_refused(trained: Path, setting: str, named: str) -> None:
    setup = scanned(trained)
    before = setup.run.surface_file("main").read_bytes()
    with pytest.raises(RequestError, match=named):
        scanned(trained, setting)
    assert setup.run.surface_file("main").read_bytes() == before


def test_a_scan_does_not_resume_from_a_file_that_was_renamed(trained: Path) -> None:
    run = scanned(trained).run
    run.surface_file("main").rename(run.surface_file("old"))
    with pytest.raises(RequestError, match=r"surface-old\.nc: .* surface\.name = main, and now it is old"):
        scanned(trained, "surface.name=old")


@pytest.mark.parametrize("resumes", [False, True])
def test_a_scan_that_waits_for_its_place_stops_at_the_first_signal(trained: Path, resumes: bool) -> None:
    """A cluster may have no worker, or a scheduler that does not answer; then the same command does the whole scan."""

    class Silent(Here):
        def decide(self, *_: object, **__: object) -> NoReturn:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("it goes on")

        def workers(self, *_: object, **__: object) -> NoReturn:
            self.decide()

    if resumes:
        with pytest.raises(Stopped):
            scanned(trained, stop=StopAfter(4))
    config = configured()
    setup = prepare(config, run_of(config, trained), "cpu")
    with deferred() as stop, pytest.raises(Stopped):
        surface(ScanPlan(setup), Report(quiet=True), stop, Silent())
    scanned(trained)
    assert (surface_of(trained).status == 1).all()


def test_a_scan_that_failed_before_its_first_point_does_not_keep_its_name(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise WorkError("no point can be computed")

    with monkeypatch.context() as patch:
        patch.setattr(LossPlane, "__call__", broken)
        with pytest.raises(WorkError, match="no point can be"):
            scanned(trained, "surface.directions.seed=5")
    assert (surface_of(trained).status == 0).all()
    scanned(trained)
    again = surface_of(trained)
    scanned(trained, "surface.name=whole")
    same(again, surface_of(trained, "whole"))


def test_the_file_is_named_and_then_judged_and_each_split_has_its_mean(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured("surface.data.split=both")
    setup = prepare(config, run_of(config, trained), "cpu")
    surface(ScanPlan(setup), Report(), StopRequest())
    lines = capsys.readouterr().out.splitlines()
    file = setup.run.surface_file("main")
    head = lines.index(f"{file}: 15 points, each the mean over 64 train and over 64 test examples")
    assert lines[head + 1].startswith("  loss at the centre")
    assert all(line.startswith("  ") for line in lines[head + 1 :])


class Gone(Report):
    """A reader like `head`, who goes when the scan is finished."""

    def say(self, line: str) -> None:
        if "points, each the mean" in line:
            raise BrokenPipeError


def test_a_finished_scan_is_done_for_the_record_whoever_reads_what_is_said(trained: Path) -> None:
    config = configured()
    setup = prepare(config, run_of(config, trained), "cpu")
    with pytest.raises(BrokenPipeError):
        surface(ScanPlan(setup), Gone(), StopRequest())
    assert setup.run.record()["surface-main"]["status"] == "done" and "report" in surface_of(trained).attrs


def test_another_checkpoint_is_refused(trained: Path) -> None:
    """`last` is another network once training went on: its points must not mix with the old ones."""
    setup = scanned(trained)
    save_tensors(setup.run.checkpoint_file(4), setup.model().state_dict())
    with pytest.raises(RequestError, match="checkpoint"):
        scanned(trained)
    scanned(trained, "surface.name=later")


@pytest.mark.parametrize("wanted", ["7", "nowhere.pt"])
def test_missing_checkpoint(trained: Path, wanted: str) -> None:
    with pytest.raises(RequestError, match=wanted):
        scanned(trained, f"surface.checkpoint={wanted}")


def test_without_training(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"make one: lossviz train .*config.yaml --out"):
        scanned(tmp_path)


def test_foreign_checkpoint(trained: Path, tmp_path: Path) -> None:
    """A PyTorch state_dict gives what our own checkpoint of the same network gives."""
    ours = scanned(trained, "surface.name=ours")
    path = tmp_path / "theirs.pt"
    torch.save({"state_dict": load_tensors(ours.run.checkpoint_file(3)), "epoch": 3}, path)
    scanned(trained, "surface.name=theirs", f"surface.checkpoint={path}")
    first, second = (load_results(ours.run.surface_file(name)) for name in ("ours", "theirs"))
    np.testing.assert_array_equal(first.loss, second.loss)


def test_a_damaged_checkpoint_is_named(trained: Path) -> None:
    file = run_of(configured(), trained).checkpoint_file(3)
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(WorkError, match="step-00000003"):
        scanned(trained)


def visits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Where the loss is computed from now on."""
    seen: list[tuple[float, float]] = []
    measure = LossPlane.__call__

    def noted(plane: LossPlane, x: float, y: float = 0.0) -> dict[str, float]:
        seen.append((x, y))
        return measure(plane, x, y)

    monkeypatch.setattr(LossPlane, "__call__", noted)
    return seen


@pytest.mark.parametrize(
    ("x", "y", "points"),
    [("[-1, 1, 9]", "[-0.5, 0.5, 3]", 27), ("[-1, 1, 5]", "[-1, 1, 5]", 25), ("[-2, 1, 7]", "[-0.5, 0.5, 5]", 35)],
)
def test_refined_and_extended(trained: Path, monkeypatch: pytest.MonkeyPatch, x: str, y: str, points: int) -> None:
    """No point is computed twice, and the file is the one of a scan that was so large from the beginning."""
    scanned(trained)
    larger = (f"surface.x={x}", f"surface.y={y}")
    seen = visits(monkeypatch)
    scanned(trained, *larger)
    assert len(seen) == points - 15
    found = surface_of(trained)
    assert (found.status == 1).all()
    assert f"x:\n  - {x[1:3].strip(',')}" in found.attrs["configuration"]
    scanned(trained, *larger, "surface.name=whole")
    np.testing.assert_allclose(found.loss, surface_of(trained, "whole").loss, rtol=1e-6)
    np.testing.assert_array_equal(found.x, surface_of(trained, "whole").x)


def test_a_larger_scan_is_not_judged_before_it_is_whole(trained: Path) -> None:
    scanned(trained)
    assert "sanity" in surface_of(trained).attrs
    with pytest.raises(Stopped):
        scanned(trained, "surface.x=[-1, 1, 9]", stop=StopAfter(2))
    assert "sanity" not in surface_of(trained).attrs


def test_the_same_checkpoint_by_another_name(trained: Path) -> None:
    """A scan of `last` is refined as one of that file: its waypoints keep their names."""
    setup = scanned(trained)
    scanned(trained, "surface.x=[-1, 1, 9]", f"surface.checkpoint={setup.run.checkpoint_file(3)}")
    found = surface_of(trained)
    assert (found.attrs["checkpoint"], found.checkpoint.values.tolist()) == ("step 3", ["step 3"])
    assert (found.status == 1).all()


def test_blocks_of_a_scan_whose_file_is_gone_are_of_no_use(trained: Path) -> None:
    """They may be another scan's."""
    setup = scanned(trained)
    whole = surface_of(trained)
    stale = whole.loss.stack(point=("y", "x")).size
    block = xr.Dataset(
        {name: ("point", np.full(stale, 7.0)) for name in ("loss", "loss_stderr", "error", "penalty", "seconds")},
        {"point": np.arange(stale)},
    )
    save_results(setup.run.blocks_folder("main") / "00000000.nc", block)
    setup.run.surface_file("main").unlink()
    scanned(trained)
    same(surface_of(trained), whole)


def test_directions_of_another_scan_in_their_place_are_refused(trained: Path) -> None:
    """Points along two planes must not end in one file."""
    one = scanned(trained, "surface.name=one", "surface.x=[-1, 1, 3]")
    scanned(trained, "surface.name=two", "surface.directions.seed=7")
    one.run.directions_file("one").write_bytes(one.run.directions_file("two").read_bytes())
    with pytest.raises(RequestError, match="other directions"):
        scanned(trained, "surface.name=one", "surface.x=[-1, 1, 5]")


def test_a_scan_in_float64_of_a_network_that_trained_in_float32(trained: Path) -> None:
    """Agrees with the float32 scan to float32's rounding, and with the checkpoint in float64 to its own."""
    scanned(trained, "surface.name=short")
    scanned(trained, "surface.name=long", "surface.precision=float64")
    short, long = surface_of(trained, "short"), surface_of(trained, "long")
    assert long.attrs["precision"] == "float64"
    np.testing.assert_allclose(short.loss, long.loss, rtol=1e-4)
    own = float(long.checkpoint_loss.sel(checkpoint=long.attrs["checkpoint"]))
    np.testing.assert_allclose(float(long.loss.sel(x=0, y=0)), own, rtol=1e-12)
