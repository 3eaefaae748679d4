"""A scan of a run: its centre, its protocol, and going on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lossviz.config import Config, read
from lossviz.engine.checkpoint import fit, load_tensors, save_tensors
from lossviz.engine.objective import Objective
from lossviz.engine.setup import Setup, prepare
from lossviz.errors import RequestError, WorkError
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import run_of
from lossviz.signals import Stopped, StopRequest
from lossviz.surface.measure import surface

SMALL = (
    "model.width=0.0625",
    "train.steps=3",
    "train.batch_size=16",
    "surface.x=[-1, 1, 5]",
    "surface.y=[-0.5, 0.5, 3]",
    "surface.data.examples=64",
    "surface.batch_size=25",
)


def configured(*settings: str) -> Config:
    return read("quickstart", (*SMALL, *settings), ("batchnorm",))[0]


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A runs folder with a checkpoint whose BatchNorm statistics are not the initial ones."""
    setup = prepare(configured(), run_of(configured(), tmp_path), "cpu")
    model = setup.model()
    model.train()
    with torch.no_grad():
        model(setup.data.train.normalise(setup.data.train.inputs[:64]))
    with setup.run.writing(setup.config):
        save_tensors(setup.run.checkpoint_file(3), model.state_dict())
    return tmp_path


def scanned(out: Path, *settings: str, stop: StopRequest | None = None) -> Setup:
    config = configured(*settings)
    setup = prepare(config, run_of(config, out), "cpu")
    with setup.run.writing(config):
        surface(setup, Report(quiet=True), StopRequest() if stop is None else stop)
    return setup


class StopAfter(StopRequest):
    """Asks to stop after a number of points."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.left = points

    def __bool__(self) -> bool:
        self.left -= 1
        self.number = 15 if self.left <= 0 else 0
        return self.number != 0


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
    batch = setup.data.train.choose(64, "stratified", 0)
    for x, y in ((1.0, -0.5), (-0.5, 0.5)):
        fit(model, load_tensors(file), file)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.add_(x * directions[f"x/{name}"] + y * directions[f"y/{name}"])
            outputs = model.eval()(batch.normalise(batch.inputs)).double()
        loss = torch.nn.functional.cross_entropy(outputs, batch.targets)
        np.testing.assert_allclose(results.loss.sel(x=x, y=y), loss, rtol=1e-5)
    flat = {
        axis: torch.cat([directions[f"{axis}/{n}"].flatten().double() for n, _ in model.named_parameters()])
        for axis in "xy"
    }
    np.testing.assert_allclose(results.attrs["x_norm"], flat["x"].norm(), rtol=1e-6)
    cosine = flat["x"] @ flat["y"] / flat["x"].norm() / flat["y"].norm()
    np.testing.assert_allclose(results.attrs["cosine"], cosine, rtol=1e-5)


@pytest.mark.parametrize("points", [1, 7])
def test_interrupted_and_continued(trained: Path, points: int) -> None:
    """The partial file says what is done; going on ends in the numbers of an undisturbed scan."""
    whole = load_results(scanned(trained, "surface.name=whole").run.surface_file("whole"))
    with pytest.raises(Stopped):
        scanned(trained, stop=StopAfter(points))
    file = run_of(configured(), trained).surface_file("main")
    partial = load_results(file)
    assert int((partial.status == 1).sum()) == points
    assert np.isnan(partial.loss.values[partial.status == 0]).all()
    scanned(trained)
    for name in ("loss", "loss_stderr", "error", "status"):
        np.testing.assert_array_equal(load_results(file)[name], whole[name])


def test_nothing_left_to_do(trained: Path) -> None:
    setup = scanned(trained)
    before = setup.run.surface_file("main").read_bytes()
    scanned(trained)
    assert setup.run.surface_file("main").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("surface.x=[0, 1, 5]", "surface.x"),
        ("surface.y=null", "surface.y"),
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
    with pytest.raises(RequestError, match="lossviz train quickstart"):
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
