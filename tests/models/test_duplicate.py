"""Copies of networks, and what is in them."""

import torch
from torch import nn

from lossviz.models.duplicate import duplicate, held
from tests.engine.odd_networks import normed
from tests.zoo.normalizations import Reassigned


def test_a_copy_shares_what_it_is_told_to() -> None:
    model = normed("weight")
    shared = list(model.parameters())
    twin = duplicate(model, shared)
    assert all(mine is theirs for mine, theirs in zip(twin.parameters(), shared, strict=True))
    buffers = zip(twin.buffers(), model.buffers(), strict=True)
    assert all(mine is not theirs and torch.equal(mine, theirs) for mine, theirs in buffers)


def test_results_with_a_graph_are_copied_wherever_they_are() -> None:
    """copy.deepcopy alone refuses them."""
    model = nn.Linear(2, 2)
    vars(model)["kept"] = [{"last": (model.weight.exp(),)}]
    twin = duplicate(model)
    last = vars(twin)["kept"][0]["last"][0]
    assert torch.equal(last, model.weight.exp())
    assert last.is_leaf


def test_each_thing_is_met_once_however_it_is_reached() -> None:
    model = Reassigned(2)
    loop: list[object] = [{"inner": (model, torch.zeros(1))}]
    loop.append(loop)
    vars(model)["loop"] = loop
    found = list(held(model))
    assert len({id(each) for each in found}) == len(found)
    assert any(each is model.running_mean for each in found)
