"""A probe in somebody else's loop, against `lossviz probe` of the same training, and what it leaves of the loop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lossviz import Probe
from lossviz.config.measures import MEASURES
from lossviz.errors import RequestError, WorkError
from lossviz.probe.command import probe_training
from lossviz.results import load_results
from lossviz.seeding import seeded
from lossviz.setup import Setup
from lossviz.signals import StopRequest
from tests.faults import tiny

ALL: dict[str, Any] = {"measures": list(MEASURES), "layers": [1, 3], "lengths": [0.1, 0.2], "every": 4}
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}


def plain_loop(setup: Setup, probe: Probe, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """The training of a setup as everybody writes it, with a call of the probe at each step."""
    minibatches, train = setup.minibatches(), setup.train
    for step in range(train.steps + 1):
        (inputs, targets), noise = minibatches(step)
        probe((inputs, targets))
        assert noise is not None
        with seeded(torch.device("cpu"), noise):  # the noise of the training, which is also that of the probe
            loss = functional.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_in_a_plain_loop_it_measures_bitwise_what_lossviz_probe_does(tmp_path: Path) -> None:
    """All measures: with momentum, weight decay, noisy BatchNorm, fixed examples and later minibatches."""
    sharpness = {"eigenvalues": 2, "examples": 16}
    setup = tiny.setup(tmp_path, train=SGD, model={"norm": "noisy-batch"}, probe={**ALL, "sharpness": sharpness})
    probe_training(setup, tiny.QUIET, StopRequest())
    model, minibatches = setup.model(), setup.minibatches()
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    fixed = setup.data.train.choose(16, "stratified", setup.config.seed)

    with Probe(
        tmp_path / "loops" / "plain",
        model,
        optimizer=optimizer,
        batches=lambda step: minibatches(step).batch,
        examples=list(fixed.batches(8)),
        **{**ALL, "sharpness": {"eigenvalues": 2}},
    ) as probe:
        plain_loop(setup, probe, optimizer, model)

    expected, found = load_results(setup.run.probe_file), load_results(tmp_path / "loops" / "plain" / "probe.nc")
    assert found["lr"].values.tolist() == [0.05] * 4
    assert tiny.results(setup.run.probe_file) == {
        name: values for name, values in tiny.results(probe.run.probe_file).items() if name != "lr"
    }
    for name, array in expected.variables.items():
        assert array.attrs == found[name].attrs
    assert {key: found.attrs[key] for key in ("planned", "precision", "lr", "loss_function", "seed")} == {
        key: expected.attrs[key] for key in ("planned", "precision", "lr", "loss_function", "seed")
    }
    np.testing.assert_array_equal(found["step"], [0, 4, 8, 12])


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(seed)), torch.arange(8) % 3


def train(probe: Probe, first: int = 0, last: int = 10, lr: float = 0.1, seed: int = 0) -> None:
    """Steps of a loop that can begin anywhere, because weights and batch are functions of the step."""
    model = probe.model
    for step in range(first, last):
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                draws = torch.Generator().manual_seed(1000 * seed + 100 * step + i)
                parameter.copy_(lr * torch.randn(parameter.shape, generator=draws))
        probe(batch(step), step)


def test_a_second_process_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"every": 2, "lengths": [0.1]}
    with Probe(tmp_path / "whole", nn.Linear(6, 3), **settings) as whole:
        train(whole)
    with pytest.raises(KeyboardInterrupt), Probe(tmp_path / "parts", nn.Linear(6, 3), **settings) as part:
        train(part, last=5)
        raise KeyboardInterrupt
    assert part.run.record()["probe"]["status"] == "interrupted"
    assert load_results(part.run.probe_file).step.values.tolist() == [0, 2, 4]
    with Probe(tmp_path / "parts", nn.Linear(6, 3), **settings) as part:
        train(part, first=3)  # a checkpoint lies before what was measured last
    assert tiny.results(part.run.probe_file) == tiny.results(whole.run.probe_file)
    record = part.run.record()["probe"]
    assert (record["status"], record["steps"], record["compute"]["precision"]) == ("done", 5, "float32")
    assert not record["command"][0].startswith("lossviz")


def test_a_process_that_measures_nothing_new_leaves_the_files(tmp_path: Path) -> None:
    for _ in range(2):
        with Probe(tmp_path, nn.Linear(6, 3), every=2) as probe:
            train(probe, last=3)
            probe.record(loss=1.0)
        found = load_results(probe.run.probe_file), load_results(probe.run.train_file)
        assert [each.attrs["loss_function"] for each in found] == ["cross-entropy"] * 2
        assert found[0].step.values.tolist() == [0, 2]
        assert "probe:" in found[0].attrs["configuration"]


def test_another_training_in_the_same_folder_is_refused_where_it_differs(tmp_path: Path) -> None:
    """At once where model, optimizer or settings tell; else at the first step at which its loss does."""
    model = nn.Linear(6, 3)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    with Probe(tmp_path, model, every=2, optimizer=sgd) as first:
        train(first)
    before = tiny.tree(tmp_path)
    others: list[tuple[nn.Module, dict[str, Any], str]] = [
        (model, {"optimizer": torch.optim.SGD(model.parameters(), lr=0.2)}, "optimizer.lr = 0.1, and now it is 0.2"),
        (
            model,
            {"optimizer": torch.optim.Adam(model.parameters(), lr=0.1)},
            "optimizer.name = SGD, and now it is Adam",
        ),
        (nn.Linear(6, 4), {"optimizer": sgd}, "model.parameters = 21, and now it is 28"),
        (model, {"optimizer": sgd, "seed": 3}, "seed = 0, and now it is 3"),
        (
            model,
            {"optimizer": sgd, "lengths": [0.3]},
            r"probe.lengths = \[0.05, 0.1, 0.2, 0.4\], and now it is \[0.3\]",
        ),
    ]
    for network, changes, says in others:
        with pytest.raises(RequestError, match=rf"probe\.nc.*{says}(?s:.*)fresh=True"):
            Probe(tmp_path, network, every=2, **changes)
        assert tiny.tree(tmp_path) == before
    with Probe(tmp_path, model, every=2, optimizer=sgd) as again:
        train(again, last=1)
        with pytest.raises(RequestError, match=r"another training: its loss at step 2 was .*(?s:.*)fresh=True"):
            train(again, first=1, seed=1)
    with Probe(tmp_path, model, every=5, optimizer=sgd, fresh=True) as anew:
        train(anew, seed=1)
    assert load_results(tmp_path / "probe.nc").step.values.tolist() == [0, 5]


def test_with_accumulation_a_step_is_measured_once(tmp_path: Path) -> None:
    """On the micro-batch of its first call."""
    with Probe(tmp_path, nn.Linear(6, 3), every=1) as probe:
        for step in range(2):
            for piece in range(3):
                probe(batch(piece), step)
    losses = load_results(probe.run.probe_file).loss.values
    with torch.no_grad():
        expected = functional.cross_entropy(probe.model(batch(0)[0]), batch(0)[1])
    np.testing.assert_allclose(losses, [expected] * 2)


def test_multiples_that_a_loop_passes_over_are_measured_at_the_next_step(tmp_path: Path) -> None:
    """As where two optimizers are counted together; a process that goes on measures at the same steps."""
    model = nn.Linear(6, 3)
    for begins in (0, 8):
        with Probe(tmp_path, model, every=3) as probe:
            for step in range(begins, begins + 12, 2):
                probe(batch(), step)
    assert load_results(probe.run.probe_file).step.values.tolist() == [0, 4, 6, 10, 12, 16, 18]


def test_labels_that_the_loss_ignores_do_not_count(tmp_path: Path) -> None:
    """Against torch's own mean, in every pass."""
    model, (inputs, targets) = nn.Linear(6, 3), batch()
    targets = torch.where(torch.arange(len(targets)) % 3 == 0, -100, targets)
    length = 0.1
    with Probe(tmp_path, model, lengths=[length]) as probe:
        probe((inputs, targets))
    found = load_results(probe.run.probe_file).isel(step=0)
    loss = functional.cross_entropy(model(inputs), targets)
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    moved = [each - length * part for each, part in zip(model.parameters(), gradient, strict=True)]
    assert float(found.loss) == pytest.approx(loss.item(), rel=1e-6)
    assert float(found.grad_norm) == pytest.approx(
        float(torch.cat([each.flatten() for each in gradient]).norm()), rel=1e-6
    )
    there = functional.cross_entropy(functional.linear(inputs, *moved), targets)
    assert float(found.path_loss[0]) == pytest.approx(there.item(), rel=1e-6)


def test_in_eval_mode_it_measures_in_training_mode(tmp_path: Path) -> None:
    """A callback may come after an evaluation; parts that stay in eval mode while the whole trains are left so."""
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
    inputs, targets = batch()
    expected = []
    for i, mode in enumerate(("train", "eval", "frozen statistics")):
        model.train(mode != "eval")
        model[1].train(mode == "train")
        with Probe(tmp_path / str(i), model) as probe:
            probe((inputs, targets))
        copied = torch.nn.Sequential(model[0], nn.BatchNorm1d(3)).train()
        copied[1].train(mode != "frozen statistics")
        with torch.no_grad():
            expected.append(functional.cross_entropy(copied(inputs), targets).item())
    found = [load_results(tmp_path / str(i) / "probe.nc").loss.item() for i in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert expected[0] == expected[1] != expected[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"measures": ["shift"], "layers": [1]}, "measures: shift needs the optimizer's next step"),
        ({"measures": ["critical-sharpness"]}, "measures: critical-sharpness needs the optimizer's next step"),
        ({"measures": ["batch-sharpness"]}, "batch-sharpness needs seven further batches"),
        ({"measures": ["gradient-noise-scale"]}, "gradient-noise-scale needs seven further batches"),
        ({"measures": ["landscap"]}, r"probe.measures\[0\] = landscap"),
        ({"every": 0}, "probe.every = 0"),
        ({"length": [0.1]}, "probe.length.*did you mean lengths"),
        ({"sharpness": {"examples": 64}}, r"probe.sharpness.examples = 64\n  examples=\[batch"),
        ({"batches": iter([1])}, "batches: can be gone through only once"),
        ({"model": nn.Linear(6, 3).requires_grad_(False)}, "model: has no trainable parameter"),
        ({"model": nn.Linear(6, 3, device="meta")}, "model: has parameters on the device meta.*: weight"),
        ({"model": torch.jit.script(nn.Linear(6, 3))}, "model: is of TorchScript"),
        ({"model": nn.Linear(6, 3, dtype=torch.cfloat)}, "model: has complex parameters: weight"),
        ({"model": abs}, "model: is builtin_function_or_method\n  accepted: a torch.nn.Module"),
        ({"measures": "landscape"}, "probe.measures = landscape"),
        ({"model": nn.LazyLinear(3)}, "has lazy layers"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(RequestError, match=says):
        Probe(tmp_path / "run", **{"model": nn.Linear(6, 3), **arguments})
    assert not (tmp_path / "run").exists()


def test_the_folder_has_one_writer(tmp_path: Path) -> None:
    with Probe(tmp_path, nn.Linear(6, 3)), pytest.raises(WorkError, match="is being written by process"):
        Probe(tmp_path, nn.Linear(6, 3))
    Probe(tmp_path, nn.Linear(6, 3)).close()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_of_lossviz_is_left_alone(tmp_path: Path, fresh: bool) -> None:
    setup = tiny.setup(tmp_path)
    with setup.run.writing(setup.config):
        setup.run.train_file.write_bytes(b"its curves")
    with pytest.raises(RequestError, match="is a run of lossviz train"):
        Probe(setup.run.folder, nn.Linear(6, 3), fresh=fresh)
    assert setup.run.train_file.read_bytes() == b"its curves"


def test_a_network_that_cannot_be_copied_is_named(tmp_path: Path) -> None:
    model = nn.Linear(6, 3)
    vars(model)["log"] = (tmp_path / "log").open("w")
    with Probe(tmp_path / "run", model) as probe, pytest.raises(RequestError, match="model: cannot be copied"):
        probe(batch())


class Counter(nn.Linear):
    """Another function at each pass."""

    passes = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return super().forward(inputs) * self.passes


def test_the_passes_that_find_layers_are_not_felt(tmp_path: Path) -> None:
    found = []
    for measure in ("activations", "landscape"):
        torch.manual_seed(0)
        with Probe(tmp_path / measure, Counter(6, 3), measures=[measure], layers=[1]) as probe:
            probe(batch())
        found.append(load_results(probe.run.probe_file).loss.item())
    assert found[0] == found[1]
