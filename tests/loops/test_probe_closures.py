"""A probe with a loss of the model, and the losses that no measurement can take."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lossviz import Probe
from lossviz.errors import RequestError
from lossviz.results import load_results
from lossviz.seeding import derive, seeded
from tests.faults import tiny
from tests.loops.test_probe import ALL, batch


def of_model(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    outputs: torch.Tensor = model(batch["inputs"])
    return functional.cross_entropy(outputs, batch["targets"], reduction="none")


def as_mapping(pair: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(zip(("inputs", "targets"), pair, strict=True))


def test_a_loss_of_the_model_is_measured_bitwise_like_the_same_loss_of_outputs(tmp_path: Path) -> None:
    found = []
    for name, loss, form in (("outputs", None, tuple), ("model", of_model, as_mapping)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        settings: dict[str, Any] = {**ALL, "layers": [1, 2], "optimizer": optimizer, "sharpness": {"examples": 16}}
        later, fixed = [form(batch(seed)) for seed in range(1, 9)], [form(batch(seed)) for seed in (20, 21)]
        with Probe(tmp_path / name, model, loss, batches=later, examples=fixed, **settings) as probe:
            probe(form(batch()))
        found.append(tiny.results(probe.run.probe_file))
    assert found[0] == found[1]


def diffusion(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Draws its own noise, as that of a diffusion model does."""
    outputs: torch.Tensor = model(batch["inputs"] + torch.randn_like(batch["inputs"]))
    return outputs.square().sum(dim=1)


def test_a_loss_may_draw_random_numbers_of_torch(tmp_path: Path) -> None:
    """They are those of the seed and the step: the same in all passes, so that the gradient is that of one function."""
    with Probe(tmp_path, nn.Linear(6, 3), diffusion, measures=["landscape", "sharpness"], lengths=[1e-3]) as probe:
        probe(as_mapping(batch()))
    found = load_results(probe.run.probe_file)
    # A quadratic: its gradient changes along itself by at most the largest eigenvalue.
    assert 0 < found.smoothness.item() <= 1.001 * found.hessian_eigenvalue.item()


class Detector(nn.Module):
    """Its loss is there in training mode only, as in networks of torchvision; its noise and its memory too."""

    passes: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not self.training:
            answers: torch.Tensor = self.layer(inputs).argmax(dim=1)
            return answers
        self.passes += 1
        outputs = self.layer(functional.dropout(inputs, 0.1)) * self.passes
        return functional.cross_entropy(outputs, targets, reduction="none")


def test_a_loss_of_training_mode_only(tmp_path: Path) -> None:
    model = Detector()
    with Probe(tmp_path, model, lambda model, batch: model(**batch)) as probe:
        probe(as_mapping(batch()))
    with seeded(torch.device("cpu"), derive(0, "noise", 0)):
        expected = model(*batch()).mean().item()
    assert load_results(probe.run.probe_file).loss.item() == pytest.approx(expected, rel=1e-6)


COUNT = itertools.count(1)
OTHER = nn.Linear(6, 3)
WRONG: dict[str, tuple[Any, str]] = {
    "scalar": (lambda model, batch: model(batch["inputs"]).mean(), "returned one number for the whole batch"),
    "detached": (lambda model, batch: of_model(model, batch).detach(), "no gradient"),
    "another": (lambda model, batch: of_model(OTHER, batch), "does not depend on the trainable parameters"),
    "mutates": (
        lambda model, batch: of_model(model, {**batch, "inputs": batch["inputs"].mul_(2)}),
        "changes its batch",
    ),
    "numpy": (
        lambda model, batch: of_model(model, batch) * np.random.rand(),
        "draws random numbers of numpy, so it is another function in every pass\n  draw them with torch",
    ),
    "counts": (
        lambda model, batch: of_model(model, batch) * next(COUNT),
        "number at every call: .*\n  let what",
    ),
    "pair": (None, r"batch: dict\n  accepted: \(inputs, targets\)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_loss_that_is_no_function_of_the_model_and_the_batch_is_named(tmp_path: Path, kind: str) -> None:
    loss, says = WRONG[kind]
    given = as_mapping(batch())
    before = tiny.same_bytes(given)
    with Probe(tmp_path, nn.Linear(6, 3), loss) as probe, pytest.raises(RequestError, match=says):
        probe(given)
    assert tiny.same_bytes(given) == before


class Holding(nn.Linear):
    """Keeps a function that holds the network, which no copy of the network can change."""

    def __init__(self) -> None:
        super().__init__(6, 3)
        self.function: Callable[[torch.Tensor], torch.Tensor] = lambda inputs: functional.linear(inputs, self.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.function(inputs) + self.bias


def test_a_loss_that_calls_the_network_of_the_loop_is_named(tmp_path: Path) -> None:
    """Its gradient at the copy would be zero, or as here lack a part."""
    own, holding = nn.Linear(6, 3), Holding()
    for i, (network, loss, given) in enumerate(
        ((own, lambda model, batch: of_model(own, batch), as_mapping(batch())), (holding, None, batch()))
    ):
        with Probe(tmp_path / str(i), network, loss) as probe, pytest.raises(RequestError, match="loop's own network"):
            probe(given)
