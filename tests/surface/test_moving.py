"""What moves, in which order, and what a selection leaves."""

import pytest
import torch
from torch import nn

from lossviz.config.directions import Parameters, Random, Selection
from lossviz.config.model import Resnet
from lossviz.errors import RequestError
from lossviz.models.build import build
from lossviz.models.lp import LpNorm
from lossviz.surface.moving import Coordinate, moving, parameters_of, selected
from tests.surface.networks import network


def test_parameters_follow_the_network() -> None:
    """Same tensors in the same order as model.parameters(): moving relies on it. Frozen ones are left out."""
    model = build(Resnet(name="resnet", depth=8), 3, 10)
    model.get_parameter("conv1.weight").requires_grad_(False)
    ours = moving(model, statistics=False)
    theirs = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert [each.name for each in ours] == [name for name, _ in theirs]
    assert all(each.tensor is tensor for each, (_, tensor) in zip(ours, theirs, strict=True))


def test_shared_parameters_move_once() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    assert [each.name for each in moving(nn.Sequential(first, second), False)] == ["0.weight", "0.bias", "1.bias"]


def test_statistics_follow_the_parameters() -> None:
    """Of BatchNorm and LpNorm, floating-point only; a buffer of another layer is none."""
    model = nn.Sequential(network(), LpNorm(3, 2.0), nn.BatchNorm1d(3, track_running_stats=False))
    model.register_buffer("mask", torch.ones(2))
    without, with_them = moving(model, False), moving(model, True)
    assert [each.name for each in with_them[: len(without)]] == [each.name for each in without]
    found = with_them[len(without) :]
    assert [each.name for each in found] == ["0.1.running_mean", "0.1.running_var", "1.running_mean", "1.running_scale"]
    assert {each.kind for each in found} == {"statistic"}
    assert all(each.tensor is dict(model.named_buffers())[each.name] for each in found)


def test_kinds() -> None:
    """Bias of a linear layer is a bias; weight and bias of a normalisation are norm."""
    model = nn.Sequential(network(), nn.LayerNorm(3), nn.MultiheadAttention(3, 1))
    kinds = {each.name: each.kind for each in moving(model, True)}
    assert kinds == {
        **{"0.0.weight": "weight", "0.0.bias": "bias", "0.1.weight": "norm", "0.1.bias": "norm"},
        **{"0.4.weight": "weight", "0.4.bias": "bias", "1.weight": "norm", "1.bias": "norm"},
        **{"2.in_proj_weight": "weight", "2.in_proj_bias": "bias", "2.out_proj.weight": "weight"},
        **{"2.out_proj.bias": "bias", "0.1.running_mean": "statistic", "0.1.running_var": "statistic"},
    }


def test_parameters_of_leaves_statistics_out() -> None:
    coordinates = moving(network(), True)
    vector = [each.tensor for each in coordinates]
    assert parameters_of(coordinates, vector) == vector[:6]


def test_like_keeps_dtype_and_layout() -> None:
    tensor = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    found = Coordinate("w", tensor, "weight").like(torch.ones(2, 3, 4, 4, dtype=torch.float64))
    assert found.dtype == torch.float32
    assert found.stride() == tensor.stride()
    assert not found.requires_grad


def names(selection: Selection, statistics: bool = False) -> set[str]:
    return selected(moving(network(), statistics), selection)


def test_selection() -> None:
    weights, biases, norms = {"0.weight", "4.weight"}, {"0.bias", "4.bias"}, {"1.weight", "1.bias"}
    assert names(Selection()) == weights | biases | norms
    assert names(Random()) == weights
    assert names(Selection(ignore=("norm",))) == weights | biases
    assert names(Selection(parameters=Parameters(include=("^4",)))) == {"4.weight", "4.bias"}
    assert names(Selection(parameters=Parameters(include=("^4", r"0\.w"), exclude=("bias$",)))) == weights
    assert names(Selection(ignore=("bias",), parameters=Parameters(include=("bias",)))) == {"1.bias"}


def test_statistics_are_selected_by_name_and_never_ignored() -> None:
    statistics = {"1.running_mean", "1.running_var"}
    assert names(Random(), True) == {"0.weight", "4.weight"} | statistics
    assert names(Selection(parameters=Parameters(exclude=("var", "^4", "^0"))), True) == {
        "1.weight",
        "1.bias",
        "1.running_mean",
    }


@pytest.mark.parametrize(
    ("selection", "statistics", "said"),
    [
        (Selection(parameters=Parameters(include=("conv7",))), False, "include = ['conv7']"),
        (Selection(parameters=Parameters(exclude=(".",))), False, "exclude = ['.']"),
        (Random(parameters=Parameters(include=("bias",))), False, "ignore = ['bias', 'norm']"),
        (Selection(parameters=Parameters(include=("weight",))), True, "running statistic"),
        (Selection(parameters=Parameters(include=("running",))), True, "no parameter"),
    ],
)
def test_a_selection_that_moves_nothing_is_refused(selection: Selection, statistics: bool, said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        names(selection, statistics)
    assert said in str(refusal.value)
    assert "parameters.include" in str(refusal.value)


def test_a_network_without_statistics_needs_none() -> None:
    """Variants with and without BatchNorm share a configuration that says interpolate."""
    assert selected(moving(nn.Linear(2, 2), True), Selection()) == {"weight", "bias"}
