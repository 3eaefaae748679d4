"""A person's own network: built again every time, its weights drawn with the seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lossviz.config.model import OwnModel
from lossviz.errors import RequestError, WorkError
from lossviz.models.build import build
from lossviz.user_code.permissions import NOBODY, parse_allowed

FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, width), nn.BatchNorm1d(width), nn.Linear(width, classes))
    def forward(self, inputs):
        return self.layers(inputs)

one = nn.Linear(2, 2)

def same():
    return one

def nothing():
    pass

def without():
    return nn.Flatten()

def frozen():
    return nn.Linear(2, 2).requires_grad_(False)

def lazy():
    return nn.LazyLinear(3)

def tied():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    net[1].weight.data = net[0].weight.data.t()
    return net

def fails(width):
    return nn.Linear(2, width).no_such_thing
"""
Build = Callable[..., nn.Module]


@pytest.fixture(name="make")
def _make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    (tmp_path / "nets.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)

    def make(name: str, seed: int = 0, known: int = 7, **args: Any) -> nn.Module:
        config = OwnModel(name="own", target=f"nets.py:{name}", args=args)
        return build(config, 2, known, seed, allowed=parse_allowed(["nets.py"]))

    return make


def weights(model: nn.Module) -> list[float]:
    return [number for each in model.parameters() for number in each.detach().flatten().tolist()]


def test_channels_and_classes_are_those_of_the_data_unless_given(make: Build) -> None:
    assert make("Net")(torch.zeros(3, 2)).shape == (3, 7)
    assert make("Net", classes=4, width=9)(torch.zeros(3, 2)).shape == (3, 4)
    assert make("Net", width=9).get_submodule("layers.0").out_features == 9


def test_classes_that_nobody_knows_are_asked_for(make: Build) -> None:
    with pytest.raises(RequestError, match=r"missing a required argument: 'classes'"):
        make("Net", known=0)
    assert make("Net", known=0, classes=4)(torch.zeros(3, 2)).shape == (3, 4)


def test_weights_are_those_of_the_seed_and_of_nobody_else(make: Build) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make("Net")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert weights(make("Net")) == weights(first)
    assert weights(make("Net", seed=1)) != weights(first)
    # and as torch's layers draw them: `init` of other networks does not apply
    assert first.get_parameter("layers.0.bias").any()


def test_every_network_is_a_new_one(make: Build) -> None:
    first = make("same")
    before = weights(first)
    with torch.no_grad():
        first.get_parameter("weight").zero_()
    assert weights(make("same")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "returned NoneType\n  accepted: a torch.nn.Module"),
        (
            "without",
            "returned a network that has no trainable parameter\n  accepted: one or more: model.requires_grad_(True)",
        ),
        (
            "frozen",
            "returned a network that has no trainable parameter\n  accepted: one or more: model.requires_grad_(True)",
        ),
        (
            "lazy",
            "returned a network that has lazy layers, which have no weights yet\n"
            "  accepted: one that was called before, or layers with all their sizes",
        ),
        (
            "tied",
            "returned a network that has parameters that are not one and lie in the same memory: "
            "0.weight and 1.weight\n"
            "  accepted: one Parameter under both names, transposed in forward if need be",
        ),
    ],
)
def test_what_is_no_network_is_refused(make: Build, name: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        make(name)
    assert str(caught.value) == f"model.target = nets.py:{name}: {message}"


def test_errors_of_the_code_are_told_by_line(make: Build) -> None:
    with pytest.raises(WorkError, match=r"^nets\.py, line 35, while nets\.py:fails makes the network: AttributeError"):
        make("fails", width=3)
    with pytest.raises(WorkError, match=r"^nets\.py, line 35, .* TypeError"):
        make("fails", width="three")


@pytest.mark.usefixtures("make")
def test_not_allowed() -> None:
    config = OwnModel(name="own", target="nets.py:Net")
    with pytest.raises(RequestError, match=r"nets\.py:Net: runs code that the command line did not allow"):
        build(config, 2, 7)
    with pytest.raises(RequestError, match=r"add --allow nets\.py"):
        build(config, 2, 7, allowed=NOBODY)
