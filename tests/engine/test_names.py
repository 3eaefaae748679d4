"""Names in files against a network's own: wrappers, an owner around the network, a beginning that is missing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine.checkpoint import tied_names
from lossviz.engine.names import AmbiguousError, renamed


def network(width: int = 4) -> nn.Module:
    layers = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
    return nn.ModuleDict({"body": layers, "head": nn.Linear(2, 2)})


def found(there: dict[str, Tensor], model: nn.Module) -> dict[str, str]:
    own = model.state_dict()
    return renamed(there, own, tied_names(own))


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name,
        lambda name: f"model.{name}",
        lambda name: f"state_dict.model.{name}",
        lambda name: f"model._orig_mod.{name}",
        lambda name: f"model.module.{name}",
        lambda name: f"net.{name.replace('body.', 'body.module.')}",
    ],
)
def test_every_name_is_found_whatever_stands_before_it(spell: Callable[[str], str]) -> None:
    model = network()
    there = {spell(name): tensor for name, tensor in model.state_dict().items()}
    assert found(there, model) == {spell(name): name for name in model.state_dict()}


def test_what_lies_beside_the_network_is_left_out() -> None:
    model = network()
    there = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    others = {"criterion.weight": torch.ones(2), "metric.total": torch.zeros(()), "body.0.other": torch.ones(1)}
    assert found({**others, **there}, model) == {name: name.removeprefix("model.") for name in there}


def test_what_lies_beside_a_wrapper_is_left_out() -> None:
    model = network()
    there = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    assert found({"n_averaged": torch.ones(()), **there}, model) == {name: name[7:] for name in there}
    twice = {**there, **model.state_dict()}
    assert found(twice, model).keys() == twice.keys()
    # Of a network that calls a part of itself so, it is another part.
    own = nn.ModuleDict({"module": model})
    assert found({"extra": torch.ones(1), **own.state_dict()}, own)["extra"] == "extra"


def test_what_lies_within_it_is_not() -> None:
    """A layer that the network lacks belongs to another architecture, which check_fit says."""
    model = network()
    there = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    assert found({**there, "model.body.3.weight": torch.ones(1)}, model)["model.body.3.weight"] == "body.3.weight"
    assert found({**model.state_dict(), "extra": torch.ones(1)}, model)["extra"] == "extra"


def test_of_two_networks_the_one_with_these_shapes() -> None:
    actor, critic = network(4), network(5)
    there = {
        **{f"actor.{name}": tensor for name, tensor in actor.state_dict().items()},
        **{f"critic.{name}": tensor for name, tensor in critic.state_dict().items()},
    }
    assert set(found(there, actor)) == {name for name in there if name.startswith("actor.")}
    assert set(found(there, critic)) == {name for name in there if name.startswith("critic.")}


@pytest.mark.parametrize("average", ["ema", "model_ema", "ema_model", "ema.module", "net.ema"])
def test_the_weights_and_not_their_average(average: str) -> None:
    model = network()
    there = {f"{owner}.{name}": tensor for owner in (average, "schema") for name, tensor in model.state_dict().items()}
    assert set(found(there, model)) == {name for name in there if name.startswith("schema.")}
    alone = {name: tensor for name, tensor in there.items() if not name.startswith("schema.")}
    assert set(found(alone, model)) == set(alone)


def test_twins_are_not_guessed_at() -> None:
    model = network()
    there = {
        f"{owner}.{name}": tensor for owner in ("student", "teacher") for name, tensor in model.state_dict().items()
    }
    with pytest.raises(AmbiguousError, match=r"student\. or teacher\."):
        found(there, model)


def test_a_part_that_saved_itself() -> None:
    """GPT-2's file has wte.weight, and the network transformer.wte.weight, tied to its head."""
    model = nn.ModuleDict({"body": nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3)), "head": nn.Linear(3, 5)})
    model.get_submodule("head").register_parameter("bias", None)
    model.get_submodule("head").weight = model.get_submodule("body.0").weight
    there = model.get_submodule("body").state_dict()
    assert found(dict(there), model) == {name: f"body.{name}" for name in there}


def test_an_owner_around_tied_tensors() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model.get_submodule("b").weight = model.get_submodule("a").weight
    for missing in ("a.weight", "b.weight"):
        there = {f"net.{name}": tensor for name, tensor in model.state_dict().items() if name != missing}
        assert found(there, model) == {name: name.removeprefix("net.") for name in there}


def test_counters_may_be_missing() -> None:
    model = network()
    there = {f"net.{n}": tensor for n, tensor in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    assert found(there, model) == {name: name.removeprefix("net.") for name in there}


def test_where_nothing_fits_the_nearest_is_named() -> None:
    model = network()
    there = {f"net.{name}": tensor for name, tensor in network(5).state_dict().items()}
    assert found(there, model) == {name: name.removeprefix("net.") for name in there}
    assert found({"a": torch.ones(1)}, model) == {"a": "a"}
    assert found({}, model) == {}
