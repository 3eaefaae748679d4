"""What a network's own code changes comes back bitwise, into the places where it was."""

from collections import deque

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine.state import snapshot, steady
from tests.zoo.networks import Net
from tests.zoo.normalizations import PlainTensors, Reassigned, StateInDict


def images(seed: int = 0) -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Reassigned, PlainTensors, StateInDict])
def test_a_training_step_leaves_no_trace(norm: type[nn.Module]) -> None:
    """Outputs of later steps are those of a network that was left alone: any state left behind would tell."""
    one, other = (_made(norm) for _ in range(2))
    one(images(1)), other(images(1))
    with steady(one):
        one.eval()(images(2))
        one.train()(images(3))
    assert all(module.training for module in one.modules())
    for each in (one, other):
        each(images(4))
        each.eval()
    with torch.no_grad():
        assert torch.equal(one(images(5)), other(images(5)))


def _made(norm: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return Net(norm)


class Everything(nn.Module):
    """State of all kinds that are put back."""

    buffer: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("buffer", torch.zeros(3))
        self.number, self.items, self.table = 1.0, [torch.zeros(2)], {"inner": [torch.zeros(1)]}
        self.draws = torch.Generator().manual_seed(7)
        self.recent = deque([torch.zeros(1)])
        self.unregistered = [{"net": Reassigned(2)}]
        self.wide = torch.zeros(1).expand(5)  # cannot be written to


def test_every_kind_of_attribute_comes_back() -> None:
    model = Everything()
    inner, buffer, item = model.table["inner"], model.buffer, model.items[0]
    hidden = model.unregistered[0]["net"]
    with pytest.raises(KeyboardInterrupt), steady(model):
        model.buffer = torch.ones(3)
        buffer.add_(2)
        item.add_(5)
        inner.append(torch.ones(1))
        model.recent.append(torch.ones(1))
        model.items.clear()
        model.number = 2.0
        vars(model)["new"] = "new"
        torch.rand(3, generator=model.draws)
        hidden.running_mean = torch.ones(2)
        model.wide = torch.ones(5)
        raise KeyboardInterrupt
    assert model.buffer is buffer
    assert torch.equal(buffer, torch.zeros(3))
    assert model.items[0] is item
    assert not item.any()
    assert (model.number, hasattr(model, "new"), len(inner), len(model.recent)) == (1.0, False, 1, 1)
    again = torch.Generator().manual_seed(7)
    assert torch.equal(torch.rand(3, generator=model.draws), torch.rand(3, generator=again))
    assert hidden.running_mean.shape == (1, 2, 1, 1)
    assert model.wide.shape == (5,)


class Frozen(dict[str, int]):
    """As diffusers keeps the configuration of a network."""

    def update(self, *_: object, **__: object) -> None:
        raise AssertionError("You cannot use update")

    def __setitem__(self, *_: object) -> None:
        raise AssertionError("You cannot set an item")


def test_a_mapping_that_refuses_changes_is_left_alone() -> None:
    network = nn.Linear(2, 2)
    settings = vars(network)["settings"] = Frozen(width=2)
    with steady(network):
        vars(network)["settings"] = Frozen(width=3)
    assert vars(network)["settings"] is settings


def test_a_result_with_its_graph_is_not_written_to() -> None:
    """Or the gradient that somebody still wants of it would fail."""
    model = Everything()
    weight = torch.ones(3, requires_grad=True)
    model.buffer = weight.exp()
    with steady(model):
        model.buffer = torch.zeros(3)
    model.buffer.sum().backward()
    assert weight.grad is not None


def test_hooks_that_a_measurement_registers_hear_the_passes_after_a_restore() -> None:
    model, heard = Net(Reassigned), list[Tensor]()
    restore = snapshot(model)
    handle = model.register_forward_hook(lambda _, __, outputs: heard.append(outputs))
    restore()
    model(images())
    handle.remove()
    model(images())
    assert len(heard) == 1
