"""What moves, in which order, and what a selection leaves."""

from collections.abc import Set as AbstractSet

import numpy as np
import pytest
import torch
from torch import nn

from lossviz.config.directions import Parameters, Random, Selection
from lossviz.config.model import Resnet
from lossviz.errors import RequestError
from lossviz.models.build import build
from lossviz.models.lp import LpNorm
from lossviz.surface.subspace import MovingTensor, Subspace
from tests.surface.networks import flat, network


def test_parameters_follow_the_network() -> None:
    """Same tensors in the same order as model.parameters(): moving relies on it. Frozen ones are left out."""
    model = build(Resnet(name="resnet", depth=8), 3, 10)
    model.get_parameter("conv1.weight").requires_grad_(False)
    ours = Subspace.of(model).tensors
    theirs = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert [each.name for each in ours] == [name for name, _ in theirs]
    assert all(each.tensor is tensor for each, (_, tensor) in zip(ours, theirs, strict=True))


def test_shared_parameters_move_once() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    assert [each.name for each in Subspace.of(nn.Sequential(first, second)).tensors] == ["0.weight", "0.bias", "1.bias"]


def test_statistics_follow_the_parameters() -> None:
    """Of BatchNorm and LpNorm, floating-point only; a buffer of another layer is none."""
    model = nn.Sequential(network(), LpNorm(3, 2.0), nn.BatchNorm1d(3, track_running_stats=False))
    model.register_buffer("mask", torch.ones(2))
    without, with_them = (Subspace.of(model, statistics).tensors for statistics in (False, True))
    assert [each.name for each in with_them[: len(without)]] == [each.name for each in without]
    found = with_them[len(without) :]
    assert [each.name for each in found] == ["0.1.running_mean", "0.1.running_var", "1.running_mean", "1.running_scale"]
    assert {each.kind for each in found} == {"statistic"}
    assert all(each.tensor is dict(model.named_buffers())[each.name] for each in found)


def test_kinds() -> None:
    """Bias of a linear layer is a bias; weight and bias of a normalisation are norm."""
    model = nn.Sequential(network(), nn.LayerNorm(3), nn.MultiheadAttention(3, 1))
    kinds = {each.name: each.kind for each in Subspace.of(model, statistics=True).tensors}
    assert kinds == {
        **{"0.0.weight": "weight", "0.0.bias": "bias", "0.1.weight": "norm", "0.1.bias": "norm"},
        **{"0.4.weight": "weight", "0.4.bias": "bias", "1.weight": "norm", "1.bias": "norm"},
        **{"2.in_proj_weight": "weight", "2.in_proj_bias": "bias", "2.out_proj.weight": "weight"},
        **{"2.out_proj.bias": "bias", "0.1.running_mean": "statistic", "0.1.running_var": "statistic"},
    }


class Scale(nn.Module):
    """A normalisation as people write it: its parameters are called as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma, self.temperature = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(()))


class Block(nn.Module):
    """LayerScale beside layers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.layer_scale = nn.Linear(3, 3), nn.Parameter(torch.ones(3))


# As docs/surfaces.md has it: which tensors are weights, which bias or norm.
KINDS: dict[str, tuple[nn.Module, dict[str, str]]] = {
    "lstm": (
        nn.LSTM(3, 4, proj_size=2),
        {"weight_ih_l0": "weight", "weight_hh_l0": "weight", "weight_hr_l0": "weight"}
        | {"bias_ih_l0": "bias", "bias_hh_l0": "bias"},
    ),
    "gru cell": (
        nn.GRUCell(3, 4),
        {"weight_ih": "weight", "weight_hh": "weight", "bias_ih": "bias", "bias_hh": "bias"},
    ),
    "attention": (
        nn.MultiheadAttention(4, 2, kdim=3, vdim=5, add_bias_kv=True),
        {f"{each}_proj_weight": "weight" for each in "qkv"}
        | {"in_proj_bias": "bias", "bias_k": "weight", "bias_v": "weight"}
        | {"out_proj.weight": "weight", "out_proj.bias": "bias"},
    ),
    "bilinear": (nn.Bilinear(2, 3, 4), {"weight": "weight", "bias": "bias"}),
    "embedding": (nn.Embedding(5, 3), {"weight": "weight"}),
    "transposed": (nn.ConvTranspose2d(2, 3, 3), {"weight": "weight", "bias": "bias"}),
    "prelu": (nn.PReLU(3), {"weight": "norm"}),
    "hand-written": (Scale(), {"gamma": "norm", "temperature": "norm"}),
    "layer scale": (Block(), {"layer_scale": "norm", "inside.weight": "weight", "inside.bias": "bias"}),
    "groups": (nn.GroupNorm(1, 3), {"weight": "norm", "bias": "norm"}),
    "planes": (nn.LayerNorm((2, 3)), {"weight": "norm", "bias": "norm"}),
    "weight norm": (
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
        {"bias": "bias"} | {f"parametrizations.weight.original{i}": "weight" for i in (0, 1)},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_a_tensor_is_what_it_is_and_not_its_name(name: str) -> None:
    model, kinds = KINDS[name]
    assert {each.name: each.kind for each in Subspace.of(model).tensors} == kinds
    inside = {each.name: each.kind for each in Subspace.of(nn.Sequential(nn.Linear(2, 2), model)).tensors}
    assert {name.removeprefix("1."): kind for name, kind in inside.items() if name.startswith("1.")} == kinds


@pytest.mark.parametrize("name", ["transformer", "recurrent", "normalised"])
def test_bias_and_norm_together_are_every_tensor_of_one_dimension(name: str) -> None:
    """As in the code of Li et al.; and the matrices of a normalisation."""
    model = {
        "transformer": nn.TransformerEncoderLayer(4, 2, 8),
        "recurrent": nn.Sequential(nn.LSTM(3, 4), nn.PReLU(), nn.Linear(4, 2), Block()),
        "normalised": nn.Sequential(nn.Conv1d(3, 3, 3), nn.BatchNorm1d(3), Scale(), nn.InstanceNorm1d(3, affine=True)),
    }[name]
    matrices = {name for name, each in model.named_parameters() if each.dim() > 1}
    assert Subspace.of(model).select(Random()).moved == matrices


def test_statistics_belong_to_no_norm_and_no_inner_product() -> None:
    subspace, draws = Subspace.of(network(), statistics=True), torch.Generator().manual_seed(0)
    first, second = (
        [torch.randn(each.shape, generator=draws, dtype=torch.float64) for each in subspace.theta] for _ in range(2)
    )
    assert subspace.parameters(first) == first[:6]
    one, other = flat(first[:6]), flat(second[:6])
    assert subspace.norm(first) == pytest.approx(np.linalg.norm(one), rel=1e-12)
    assert subspace.dot(first, second) == pytest.approx(one @ other, rel=1e-10)


def test_spread() -> None:
    """Parts for the parameters that move, zeros elsewhere; statistics have no part."""
    subspace = Subspace.of(network(), statistics=True).only({"0.bias", "4.weight", "1.running_var"})
    assert [each.shape for each in subspace.moved_parameters] == [(4,), (3, 4)]
    found = subspace.spread([torch.ones(4), torch.full((3, 4), 2.0)])
    expected = {"0.bias": 1.0, "4.weight": 2.0}
    for each, part in zip(subspace.tensors, found, strict=True):
        assert (part == expected.get(each.name, 0.0)).all()
        assert part.dtype == torch.float64


def test_difference_is_exact_in_float64() -> None:
    """Of what a float32 network holds, also where the other one has more digits."""
    model, other = network(0, torch.float32), network(1).state_dict()
    subspace = Subspace.of(model, statistics=True)
    subspace = subspace.only({*subspace.moved} - {"0.bias"})
    for each, part in zip(subspace.tensors, subspace.difference(other, torch.float64), strict=True):
        expected = other[each.name].float().double() - each.tensor.double()
        np.testing.assert_array_equal(part.numpy(), (expected * (each.name in subspace.moved)).detach().numpy())
        if each.name in subspace.moved:
            assert part.stride() == each.tensor.stride()
        else:
            assert part.untyped_storage().nbytes() == 8  # one zero


def test_like_keeps_dtype_and_layout() -> None:
    tensor = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    found = MovingTensor("w", tensor, "weight").like(torch.ones(2, 3, 4, 4, dtype=torch.float64))
    assert found.dtype == torch.float32
    assert found.stride() == tensor.stride()
    assert not found.requires_grad


def names(selection: Selection, statistics: bool = False) -> AbstractSet[str]:
    return Subspace.of(network(), statistics).select(selection).moved


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
        (Selection(parameters=Parameters(include=("conv7",))), False, "include = [conv7]"),
        (Selection(parameters=Parameters(exclude=(".",))), False, "exclude = [.]"),
        (Random(parameters=Parameters(include=("bias",))), False, "ignore = [bias, norm]"),
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
    assert Subspace.of(nn.Linear(2, 2), statistics=True).select(Selection()).moved == {"weight", "bias"}


def test_names_on_disk_and_back() -> None:
    """Whatever order a file has, directions come back in the network's."""
    subspace = Subspace.of(network(dtype=torch.float32), statistics=True)
    directions = {axis: [torch.randn_like(tensor) for tensor in subspace.theta] for axis in "xy"}
    tensors = subspace.to_tensors(directions)
    assert list(tensors)[:2] == ["x/0.weight", "x/0.bias"]
    shuffled = {name: tensors[name].double() for name in sorted(tensors, reverse=True)}
    for axis, vector in directions.items():
        back = subspace.from_tensors(shuffled, axis)
        assert all(torch.equal(one, other) for one, other in zip(vector, back, strict=True))
        assert all(one.stride() == each.tensor.stride() for one, each in zip(back, subspace.tensors, strict=True))
