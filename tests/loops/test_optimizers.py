"""The optimizer's next step on a copy, against the step that the loop's own takes then."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import LBFGS, SGD, Adafactor, Adam, AdamW, NAdam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lossviz.errors import RequestError
from lossviz.loops.copies import copied
from lossviz.loops.optimizers import OptimizerStep, made_with, penalty_decay, training_section
from tests.faults.tiny import flat

INPUTS, TARGETS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


class Network(nn.Module):
    """Its first bias is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)
        self.first.bias.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.second(self.first(inputs).tanh())
        return outputs


def groups(model: Network) -> list[dict[str, Any]]:
    return [{"params": list(model.first.parameters())}, {"params": list(model.second.parameters()), "lr": 0.5}]


@pytest.mark.parametrize(
    "make",
    [
        lambda model: SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda model: Adam(model.parameters(), lr=0.01, amsgrad=True),
        lambda model: AdamW(groups(model), lr=torch.tensor(0.01)),
        lambda model: NAdam(groups(model), lr=0.01),
    ],
    ids=["SGD", "Adam", "AdamW", "NAdam"],
)
def test_the_preview_is_the_step(make: Callable[[Network], Optimizer]) -> None:
    """With moments of earlier steps, two groups, a schedule, and a frozen parameter that holds an old gradient."""
    model = Network()
    optimizer = make(model)
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    trainable = [each for each in model.parameters() if each.requires_grad]
    frozen = flat(model.first.bias.detach())
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(INPUTS), TARGETS).backward()
        model.first.bias.grad = torch.ones(5)
        twin = copied(model)
        step = OptimizerStep(optimizer, model, twin)
        gradient = [each.grad for each in trainable if each.grad is not None]
        found = step.preview(gradient, 0)
        assert [flat(each.detach()) for each in twin.parameters()] == [
            flat(each.detach()) for each in model.parameters()
        ]
        assert step.rate(0) == optimizer.param_groups[0]["lr"]
        model.first.bias.grad = None
        optimizer.step()
        schedule.step()
        assert flat(found) == [flat(each.detach()) for each in trainable]
    assert flat(model.first.bias.detach()) == frozen


def test_an_optimizer_that_takes_no_such_step_is_named() -> None:
    model = Network()
    step = OptimizerStep(LBFGS(model.parameters()), model, copied(model))
    with pytest.raises(RequestError, match=r"LBFGS takes no step.*closure(?s:.*)leave out .* shift"):
        step.preview([torch.zeros_like(each) for each in model.parameters() if each.requires_grad], 5)


def test_the_penalty_is_known_where_it_is_one_number() -> None:
    model = Network()
    decayed: list[tuple[Optimizer | None, float]] = [
        (None, 0.0),
        (SGD(model.parameters(), lr=0.1, weight_decay=0.3), 0.3),
        (Adam(model.parameters(), weight_decay=0.2), 0.2),
        (AdamW(model.parameters(), weight_decay=0.2), 0.0),
        (Adam(model.parameters(), weight_decay=0.2, decoupled_weight_decay=True), 0.0),
        (NAdam(model.parameters(), weight_decay=0.2), 0.0),
        (SGD([{**each, "weight_decay": i} for i, each in enumerate(groups(model))], lr=0.1), 0.0),
    ]
    for optimizer, expected in decayed:
        assert penalty_decay(optimizer) == expected


def test_what_it_was_made_with_is_what_no_schedule_changes() -> None:
    optimizer = AdamW(Network().parameters(), lr=0.5, betas=(0.8, 0.9))
    LambdaLR(optimizer, lambda _: 0.2)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert made_with(optimizer) | {"name": "AdamW", "lr": 0.5, "betas": [0.8, 0.9]} == made_with(optimizer)
    assert made_with(AdamW(Network().parameters(), lr=torch.tensor(0.5)))["lr"] == 0.5
    section = training_section(optimizer)
    assert section == {"optimizer": "adamw", "lr": 0.5, "betas": [0.8, 0.9], "weight_decay": 0.01}
    assert training_section(NAdam(Network().parameters())) == training_section(None) == {}
    assert made_with(Adafactor(Network().parameters(), eps=(None, 1e-3)))["eps"] == [1e-3]


def test_the_training_is_that_of_the_first_group_and_of_all_that_step_like_it() -> None:
    """Biases without decay do; a layer with a learning rate of its own has an edge of stability of its own."""
    (first, second), own = groups(Network()), {"lr": 0.5, "momentum": 0.9}
    section = training_section(SGD([{**first, **own}, {**second, **own, "weight_decay": 0.1}], lr=1e-3))
    assert section == {"optimizer": "sgd", "lr": 0.5, "momentum": 0.9, "nesterov": False, "weight_decay": 0}
    for change in ({"lr": 0.1}, {"momentum": 0.0}, {"nesterov": True}):
        assert training_section(SGD([{**first, **own}, {**second, **own, **change}], lr=1e-3)) == {}
