"""The loss by the plain path, with which the sanity report compares."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine import exact
from lossviz.engine.objective import Objective
from lossviz.surface.batch_norm import recalibrate
from tests.surface.networks import network
from tests.surface.test_plane import batches, classification, plane, through


def test_the_plain_path_re_estimates_statistics() -> None:
    """At whatever point the network is, whatever was evaluated before."""
    objective, (inputs, targets) = Objective(network().eval()), classification(10, 0)
    found = []
    for visits in (1, 0):
        part = through(objective, plane(objective), {"": batches(inputs, targets, 4)})
        part = replace(part, treatment=recalibrate(objective, lambda: [(inputs, targets)]))
        centre = part(0.0, 0.0)["loss"] if visits else part.plain_loss()[0].loss
        found.append(centre)
    assert found[1] == pytest.approx(found[0], rel=1e-10)


def test_the_plain_path_is_the_network_itself() -> None:
    """`plain_loss` is what the sanity report compares with: neither folded nor moved back to the centre."""
    objective, (inputs, targets) = Objective(network().eval()), classification(10, 0)
    part = through(objective, plane(objective), {"": batches(inputs, targets, 4)})
    moved = part(0.5, 0.5)["loss"]
    with torch.no_grad():
        losses = nn.functional.cross_entropy(objective.model(inputs), targets)
    assert part.plain_loss()[0].loss == pytest.approx(float(losses), rel=1e-12)
    assert part.plain_loss()[0].loss == pytest.approx(moved, rel=1e-10)
    seen: list[bool] = []
    norm = objective.model.get_submodule("1")
    norm.register_forward_hook(lambda *_: seen.append(True))
    part.plain_loss()
    assert seen  # the very BatchNorm of the network


class Stubborn(nn.Linear):
    """Computes in float32 whatever it is given."""

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs, self.weight.float(), self.bias).double()


def test_a_network_that_refuses_float64_is_said_to_have_its_own_precision() -> None:
    inputs, targets = torch.randn(6, 3), torch.arange(6) % 2
    objective = Objective(Stubborn(3, 2).eval())
    part = through(objective, plane(objective), {"": batches(inputs, targets, 6)})
    found = part.plain_loss()
    outputs = objective.model(inputs).detach()
    expected = nn.functional.cross_entropy(outputs, targets)
    assert found.evaluation.loss == pytest.approx(float(expected), rel=1e-12)
    assert found.precision == "its own precision"
    assert found.outputs == pytest.approx(float(outputs.abs().max(dim=1).values.mean()), rel=1e-12)


class Attending(nn.Module):
    """Computes with the weight of a layer that it does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        attended, _ = self.attention(inputs, inputs, inputs, need_weights=False)
        outputs: Tensor = self.head(attended.mean(dim=1))
        return outputs


def test_what_has_no_memory_for_float64_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    objective, data = Objective(Attending().eval()), batches(torch.randn(6, 4, 2), torch.arange(6) % 3, 6)
    part = through(objective, plane(objective), {"": data})
    whole = part.plain_loss()
    assert whole.precision == "float64"
    monkeypatch.setattr(exact, "free_memory", lambda _: 100)
    short = part.plain_loss()
    assert short.precision == "its own precision (memory does not hold a copy in float64)"
    assert short.evaluation.loss == pytest.approx(whole.evaluation.loss, rel=1e-5)
