"""Networks that use one tensor under several names: saved once, read back under all, trained and scanned as one."""

import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config import read
from lossviz.engine.checkpoint import fit, load_resume, load_tensors, save_resume, save_tensors
from lossviz.engine.foreign import load_foreign
from lossviz.errors import RequestError
from lossviz.notebook import loss_surface
from lossviz.results import load_results
from lossviz.run import run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import Stopped, StopRequest
from lossviz.training.command import train
from lossviz.user_code.permissions import parse_allowed
from tests.faults import tiny
from tests.faults.tiny import QUIET, Interrupter, lossviz, same_bytes

NETWORK = """
from torch import nn

class Tied(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(n, 6) for n in (1024, 6, 6, 6))
        self.c.weight = self.d.weight = self.b.weight
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, classes)

    def forward(self, inputs):
        values = self.a(inputs.flatten(1)).relu()
        for layer in (self.b, self.c, self.d):
            values = self.norm(layer(values)).relu()
        return self.head(values)
"""
TIED = ("b.weight", "c.weight", "d.weight")


def network(seed: int = 0) -> nn.Module:
    names: dict[str, Any] = {}
    exec(compile(NETWORK, "nets.py", "exec"), names)
    torch.manual_seed(seed)
    model: nn.Module = names["Tied"](10)
    return model


def assert_same(found: dict[str, Tensor], model: nn.Module) -> None:
    assert same_bytes(found) == same_bytes(dict(model.state_dict()))


def test_a_checkpoint_holds_a_tensor_once_and_is_read_under_all_names(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "a.safetensors"
    save_tensors(path, model.state_dict())
    plain = safetensors.torch.load_file(path)
    assert set(model.state_dict()) - set(plain) == set(TIED[1:])
    for load in (load_tensors, load_foreign):
        assert_same(load(path), model)
    # The library's own loader understands the file.
    other = network(1)
    safetensors.torch.load_model(other, path)
    assert_same(dict(other.state_dict()), model)
    for _ in range(5):  # the library orders metadata by chance
        save_tensors(tmp_path / "b.safetensors", model.state_dict())
        assert path.read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_librarys_own_files_are_read_under_all_names(tmp_path: Path) -> None:
    model, other, path = network(), network(1), tmp_path / "a.safetensors"
    safetensors.torch.save_model(model, str(path))
    assert_same(load_foreign(path), model)
    fit(other, load_foreign(path), path)
    assert_same(dict(other.state_dict()), model)


@pytest.mark.parametrize("kept", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_foreign_files_with_some_of_the_names_fit(tmp_path: Path, kept: tuple[int, ...]) -> None:
    model, other, path = network(), network(1), tmp_path / "foreign.pt"
    without = {name for i, name in enumerate(TIED) if i not in kept}
    torch.save({name: tensor for name, tensor in model.state_dict().items() if name not in without}, path)
    fit(other, load_foreign(path), path)
    assert_same(dict(other.state_dict()), model)


def test_files_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    state = dict(network(1).state_dict())
    with pytest.raises(RequestError, match=r"b.weight and d.weight are one tensor in the network, and differ"):
        fit(network(), state | {"d.weight": state["d.weight"] + 1e-6}, tmp_path / "x.pt")
    with pytest.raises(RequestError, match=r"d.weight is \(5,\) in the file and \(6, 6\) in the network"):
        fit(network(), state | {"d.weight": torch.zeros(5)}, tmp_path / "x.pt")
    with pytest.raises(RequestError, match=r"b.weight \(6, 6\) is missing"):
        fit(network(), {name: tensor for name, tensor in state.items() if name not in TIED}, tmp_path / "x.pt")


def test_values_that_are_not_numbers_are_equal_to_themselves(tmp_path: Path) -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter("b.weight").fill_(float("nan"))
    fit(network(1), dict(model.state_dict()), tmp_path / "x.pt")


def test_tensors_that_overlap_otherwise_are_saved_side_by_side(tmp_path: Path) -> None:
    """Such as a weight and its transpose, or a part of a buffer."""
    whole = torch.arange(12.0).view(3, 4)
    tensors = {"whole": whole, "transposed": whole.t(), "row": whole[1], "none": whole[:0], "empty": torch.zeros(0)}
    save_tensors(tmp_path / "a.safetensors", tensors)
    assert same_bytes(load_tensors(tmp_path / "a.safetensors")) == same_bytes(tensors)


def test_the_state_to_resume_from(tmp_path: Path) -> None:
    model, other = network(), network(1)
    save_resume(tmp_path / "resume.pt", 3, model, torch.optim.SGD(model.parameters(), 0.1))
    assert load_resume(tmp_path / "resume.pt", other, torch.optim.SGD(other.parameters(), 0.1)) == 3
    assert_same(dict(other.state_dict()), model)
    assert other.get_parameter("c.weight") is other.get_parameter("b.weight")


@pytest.fixture(name="file")
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny experiment with the tied network in float64; the working directory is its folder."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETWORK, encoding="utf-8")
    file = tiny.write(tmp_path, train={"momentum": 0.9, "precision": "float64"}, probe={"measures": ["landscape"]})
    lines = file.read_text(encoding="utf-8")
    start, end = lines.index("model:"), lines.index("train:")
    file.write_text(f"{lines[:start]}model: {{target: 'nets.py:Tied'}}\n{lines[end:]}", encoding="utf-8")
    return file


def ready(file: Path, out: str) -> Setup:
    allowed = parse_allowed(["nets.py"])
    (config,) = read(str(file), allowed=allowed)
    return prepare(config, run_of(config, Path(out)), "cpu", allowed)


def test_a_training_is_that_of_torch_and_goes_on_after_an_interrupt(file: Path) -> None:
    whole, parts = ready(file, "runs"), ready(file, "parts")
    train(whole, QUIET, StopRequest())
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(parts, QUIET, stop, Interrupter(stop, 7))
    assert stop.number == signal.SIGTERM
    train(parts, QUIET, StopRequest())
    assert tiny.everything(parts.run) == tiny.everything(whole.run)
    model = whole.model()
    optimizer, minibatches = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9), whole.minibatches()
    for step in range(12):
        batch = minibatches(step)
        optimizer.zero_grad()
        functional.cross_entropy(model(batch.inputs), batch.targets).backward()
        optimizer.step()
    for name, tensor in load_tensors(whole.run.checkpoint_file(12)).items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-9, atol=1e-12)


def loss_at(setup: Setup, state: dict[str, Tensor]) -> float:
    """A plain loop over the first 20 examples, as the tiny scan has them."""
    model = setup.model()
    model.load_state_dict(state)
    with torch.no_grad():
        losses = [
            functional.cross_entropy(model.eval()(x[None]), y[None])
            for inputs, targets in setup.data.train.choose(20, "first", 0, "").batches(20)
            for x, y in zip(inputs, targets, strict=True)
        ]
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("kind", ["{kind: random}", "{kind: toward, checkpoints: [0, 4]}", "{kind: pca}"])
def test_every_command_works_on_the_run(file: Path, kind: str) -> None:
    assert lossviz("train", file, "--allow", "nets.py").err == ""
    assert lossviz("probe", file, "--allow", "nets.py").err == ""  # replays, and compares every checkpoint
    given = ["--set", f"surface.directions={kind}", "--set", "surface.precision=float64"]
    assert lossviz("surface", "runs/tiny", "--allow", "nets.py", *given).err == ""
    setup = ready(file, "runs")
    found, moves = load_results(setup.run.surface_file("main")), load_tensors(setup.run.directions_file("main"))
    assert {f"x/{name}" for name in TIED} & set(moves) == {"x/b.weight"}
    centre = load_tensors(setup.run.checkpoint_file(12))
    for x in found.x.values:
        moved = {name: tensor.clone() for name, tensor in centre.items()}
        for axis, along in (("x", float(x)), ("y", float(found.y[1]))):
            for name, tensor in moved.items():
                origin = TIED[0] if name in TIED else name
                if f"{axis}/{origin}" in moves:
                    tensor.add_(moves[f"{axis}/{origin}"], alpha=along)
        assert float(found.loss.isel(y=1).sel(x=x)) == pytest.approx(loss_at(setup, moved), rel=1e-9)


def test_the_surface_of_a_network_in_memory() -> None:
    model = network().double()
    inputs, targets = torch.randn(9, 1024, dtype=torch.float64), torch.arange(9)
    direction = torch.randn(6, 6, dtype=torch.float64)
    found = loss_surface(model, [(inputs, targets)], x=(-1, 1, 5), directions={"x": {"b.weight": direction}})
    assert np.ptp(found.loss.values) > 0
    for x in (-1.0, 0.5):
        moved = network().double().eval()
        with torch.no_grad():
            moved.get_parameter("b.weight").add_(direction, alpha=x)
            assert all(one is other for one, other in pairwise(moved.get_parameter(name) for name in TIED))
            expected = functional.cross_entropy(moved(inputs), targets)
        assert float(found.loss.sel(x=x)) == pytest.approx(float(expected), rel=1e-10)
