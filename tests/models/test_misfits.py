"""Parameters that share memory: a copy and a move would part them, or change one through the other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lossviz.models.misfits import misfit


def pair(first: Tensor, second: Tensor, trained: bool = True) -> nn.Module:
    pairs = (("first", first), ("second", second))
    return nn.ParameterDict({name: nn.Parameter(each, requires_grad=trained) for name, each in pairs})


def columns(wide: Tensor) -> nn.Module:
    return pair(wide[:, :2], wide[:, 2:])


def flat(memory: Tensor) -> nn.Module:
    """As the weights of torch's recurrent networks lie on a GPU."""
    return pair(memory.flatten()[:8].view(2, 4), memory.flatten()[8:])


def one(weight: Tensor) -> nn.Module:
    model = pair(weight, weight.clone())
    model.second = model.first
    return model


def frozen(weight: Tensor) -> nn.Module:
    return nn.ModuleList([pair(weight, weight, trained=False), nn.Linear(1, 1)])


@pytest.mark.parametrize("make", [columns, flat, one, frozen, lambda weight: pair(weight[:0], weight)])
def test_parameters_side_by_side_are_parameters(make: Callable[[Tensor], nn.Module]) -> None:
    assert misfit(make(torch.rand(4, 5))) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda weight: pair(weight, weight),
        lambda weight: pair(weight.t(), weight),
        lambda weight: pair(weight[1:], weight),
        lambda weight: pair(weight[:, :3], weight[:, 2:]),
        lambda weight: pair(weight, weight[3, 4]),
    ],
)
def test_parameters_with_numbers_in_common_are_refused(make: Callable[[Tensor], nn.Module]) -> None:
    found = misfit(make(torch.rand(4, 5)))
    assert found is not None
    assert found[0].startswith("has parameters that are not one and lie in the same memory: ")
    assert {"first", "second"} <= set(found[0].split())
