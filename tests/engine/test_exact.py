"""Networks in float64, a module at a time, against a copy of the whole in float64."""

import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine import exact
from lossviz.engine.exact import exact_networks, in_float64
from lossviz.models.duplicate import duplicate


class Tied(nn.Module):
    """One weight in two layers, a parameter of its own, and one layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.position = nn.Parameter(torch.randn(3, 5))
        self.middle = nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.GELU())
        self.head = nn.Linear(5, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens) + self.position
        outputs: Tensor = self.head(self.middle(self.middle(hidden)))
        return outputs


def images() -> Tensor:
    return torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))


def convolutions() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))
    layers.train()(images())
    return layers.eval()


def weight_normed() -> nn.Module:
    layers = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(50, 4)))
    return layers.eval()


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "tied": (Tied, torch.tensor([[1, 2, 3], [6, 0, 6]])),
    "convolutions": (convolutions, images()),
    "weight norm": (weight_normed, images()),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_bitwise_the_copy_in_float64(case: str, dtype: torch.dtype) -> None:
    build, inputs = CASES[case]
    torch.manual_seed(1)
    model = build().to(dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    with torch.no_grad():
        found, expected = in_float64(model)(inputs), duplicate(model).double()(inputs)
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(tensor.dtype == before[name].dtype for name, tensor in model.state_dict().items())


def test_no_two_modules_are_in_float64_at_a_time() -> None:
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    network, alive, most = in_float64(model), weakref.WeakSet[nn.Parameter](), 0

    def look(module: nn.Module, *_: object) -> None:
        nonlocal most
        alive.add(module.get_parameter("weight"))
        most = max(most, sum(each.dtype == torch.float64 for each in alive))

    for layer in network.children():
        layer.register_forward_pre_hook(look)
    with torch.no_grad():
        network(torch.randn(2, 8, dtype=torch.float64))
    assert most == 1
    assert not any(each.dtype == torch.float64 for each in network.parameters())
    assert [*map(id, network.parameters())] == [*map(id, model.parameters())]


def test_a_pass_that_fails_leaves_the_network_as_it_was() -> None:
    network = in_float64(nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4)))
    for _ in range(2):
        with pytest.raises(RuntimeError):
            network(torch.randn(2, 3, dtype=torch.float64))
        assert {each.dtype for each in network.parameters()} == {torch.float32}


def test_a_network_that_this_does_not_do_for_is_copied_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attention of torch.nn computes with the weight of a layer that it does not call."""
    model, inputs = nn.MultiheadAttention(4, 2).eval(), torch.randn(3, 1, 4, dtype=torch.float64)
    size = 8 * sum(each.numel() for each in model.parameters())
    for free, count in ((2 * size - 1, 1), (2 * size, 2), (None, 2)):
        monkeypatch.setattr(exact, "free_memory", lambda _, free=free: free)
        networks = list(exact_networks(model))
        assert len(networks) == count
    with torch.no_grad(), pytest.raises(RuntimeError):
        networks[0](inputs, inputs, inputs)
    with torch.no_grad():
        found, expected = (each(inputs, inputs, inputs)[0] for each in (networks[1], duplicate(model).double()))
    assert torch.equal(found, expected)
