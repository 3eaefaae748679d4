"""Faster paths are compared with the network."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from lossviz.engine.objective import Objective
from lossviz.engine.trust import difference, disagreement, relative_difference
from tests.zoo.networks import ReadsItself


def rows(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize(
    ("found", "expected", "apart"),
    [
        (rows(1, -4), rows(1, -4), 0),
        (rows(1, -4), rows(1.5, -4), 0.125),
        (rows(0, 0), rows(0, 0), 0),
        (rows(0, 1), rows(0, 0), math.inf),
        (rows(1, math.nan), rows(1, math.nan), 0),
        (rows(1, math.nan), rows(1, math.inf), 0),
        (rows(1, math.nan), rows(1, 2), math.inf),
        (rows(math.inf), rows(math.nan), 0),
    ],
)
def test_relative_difference(found: Tensor, expected: Tensor, apart: float) -> None:
    assert relative_difference(found, expected) == apart


def test_what_departs_is_told_in_words() -> None:
    assert difference(rows(1, 2), rows(1, 2.1), 0.1) == ""
    assert "0.048 of the largest" in difference(rows(1, 2), rows(1, 2.1), 0.01)
    assert "(1, 2) and not (1, 3)" in difference(rows(1, 2), rows(1, 2, 3), 0.01)

    assert difference(rows(1, 1e-12), rows(1, 1.1e-12), 0.01) == ""  # a saturated answer is one, and gives the scale
    masked, size = rows(-1e9, 5, 3), "its outputs are up to 0.2 of the largest"
    assert difference(rows(-1e9, 6, 3), masked, 0.1).startswith(size)
    assert difference(rows(-1e9, math.nan, 3), rows(-1e9, math.nan, 3), 0.1) == difference(masked, masked, 0) == ""

    def breaks(_: Tensor) -> Tensor:
        raise ValueError("no such thing\nmore")

    assert disagreement(breaks, lambda inputs: inputs, rows(1), 0.1) == "it fails: no such thing"


def test_too_little_memory_is_no_disagreement() -> None:
    def breaks(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        disagreement(breaks, lambda inputs: inputs, rows(1), 0.1)


def test_a_copy_that_gives_other_numbers_is_dropped_for_good() -> None:
    """Folding scales the weights that this network reads; at first, where BatchNorm is the identity, by nothing."""
    torch.manual_seed(0)
    model = ReadsItself()
    inputs = torch.randn(8, 3, 8, 8)
    objective = Objective(model)
    with torch.no_grad():
        assert objective.follow((inputs, torch.zeros(8)))() is not model
        model.train()(3 * inputs + 1)
        assert objective.follow((inputs, torch.zeros(8)))() is model
        assert len(objective.doubts) == 1
        assert objective.doubts[0].startswith("BatchNorm is not folded")
        for buffer in model.buffers():
            buffer.fill_(1)
        assert objective.follow((inputs, torch.zeros(8)))() is model
    assert len(objective.doubts) == 1
    assert objective.with_model(nn.Linear(2, 2)).doubts is objective.doubts


class Keeps(nn.Module):
    """Keeps what its convolution gave."""

    kept: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        self.kept = self.conv(inputs)
        outputs: Tensor = self.norm(self.kept).mean((2, 3))
        return outputs


def scores(model: nn.Module, batch: Any) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def perturbed(model: nn.Module, batch: Any) -> Tensor:
    weights = {name: 1.1 * weight for name, weight in model.named_parameters()}
    return functional.cross_entropy(functional_call(model, weights, (batch[0],)), batch[1], reduction="none")


TAKING_MORE: dict[str, Callable[[Any, Any], Any]] = {
    "a penalty": lambda model, batch: (
        scores(model, batch) + 1e-9 * sum(each.square().sum() for each in model.parameters())
    ),
    "a part": lambda model, batch: {"loss": scores(model, batch), "conv": model.conv(batch[0]).mean((1, 2, 3))},
    "what it keeps": lambda model, batch: scores(model, batch) + model.kept.square().mean((1, 2, 3)),
    "other weights": perturbed,
}
TAKING_OUTPUTS: dict[str, Callable[[Any, Any], Any]] = {
    "once": scores,
    "by its forward": lambda model, batch: functional.cross_entropy(
        model.forward(batch[0]), batch[1], reduction="none"
    ),
    "twice": lambda model, batch: scores(model, batch) + model(2 * batch[0]).square().sum(1),
    "with the device of a weight": lambda model, batch: scores(
        model, [each.to(next(model.parameters()).device) for each in batch]
    ),
}


def test_batch_norm_is_folded_for_closures_that_call_whole_parts() -> None:
    """As `training_step` of a LightningModule does, whose network is an attribute; not the layer before a BatchNorm."""
    model, batch = nn.Sequential(Keeps(), nn.Linear(4, 4)).eval(), (torch.randn(8, 3, 5, 5),)

    def of_parts(model: Any, batch: Any) -> Tensor:
        losses: Tensor = model[1](model[0](batch[0])).square().sum(1)
        return losses

    def of_a_layer(model: Any, batch: Any) -> Tensor:
        extra: Tensor = model[0].conv(batch[0]).mean((1, 2, 3))
        return of_parts(model, batch) + extra

    whole, parted = Objective(model, of_parts), Objective(model, of_a_layer)
    assert whole.follow(batch)() is not model
    assert parted.follow(batch)() is model
    assert (len(whole.doubts), len(parted.doubts)) == (0, 1)


@pytest.mark.parametrize("name", [*TAKING_MORE, *TAKING_OUTPUTS])
def test_batch_norm_is_folded_for_closures_that_only_call_the_network(name: str) -> None:
    """Also where it is nearly the identity here, and folded weights would be others elsewhere in the surface."""
    torch.manual_seed(0)
    model, batch = Keeps().eval(), (torch.randn(8, 3, 5, 5), torch.arange(8) % 4)
    model(batch[0])
    objective = Objective(model, {**TAKING_MORE, **TAKING_OUTPUTS}[name])
    followed = objective.follow(batch)
    assert (followed() is model) == (name in TAKING_MORE)
    assert len(objective.doubts) == (name in TAKING_MORE)
    with torch.no_grad():
        model.norm.weight.mul_(3)
        expected = objective.losses(model)(batch).terms
        for found, term in zip(objective.losses(followed())(batch).terms, expected, strict=True):
            torch.testing.assert_close(found.sums, term.sums)
