"""The frozen prefix: bitwise the losses of the network itself, at every point, with most of the network left out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossviz.config.directions import Parameters, Random
from lossviz.config.model import Resnet
from lossviz.engine.objective import Objective
from lossviz.models.build import build
from lossviz.surface import prefix
from lossviz.surface.batch_norm import frozen, recalibrate
from lossviz.surface.directions.random import random_direction
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.plane import LossPlane
from lossviz.surface.prefix import Prefix
from lossviz.surface.subspace import Subspace

POINTS = [(0.0, 0.0), (0.5, -0.25), (-1.0, 1.0), (0.5, -0.25), (0.0, 0.0)]


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little time it saves on networks as small as these."""
    monkeypatch.setattr(prefix, "WORTH_KEEPING", 0.0)


class Skipping(nn.Module):
    """An early output is read late; some operations are no modules, one works in place."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.one, self.two, self.three, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.late = late

    def forward(self, inputs: Tensor) -> Tensor:
        first = functional.relu_(self.one(inputs))
        kept = first * 2 if self.late else first
        del first
        second = torch.tanh(self.two(kept))
        third = self.three(second)
        third += second
        outputs: Tensor = self.head(third + kept)
        return outputs


class Tied(nn.Module):
    """One weight in the first and the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 6, bias=False), nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.last.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.middle(self.first(inputs)))
        return outputs


class Borrowing(nn.Module):
    """Computes with the weight of a layer that it calls later."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.three(self.two(self.one(inputs) @ self.three.weight))
        return outputs


class Dicing(nn.Module):
    """Random in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.two(functional.dropout(self.one(inputs)))
        return outputs


class Fast(nn.Module):
    """Computes with the weights of its layers and calls none, as the fast path of torch.nn's transformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.linear(inputs, self.inside.weight)


class Odd(nn.Module):
    """Returns tuples and dicts of tensors, numbers and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = Both(), Both(), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.two(self.one((inputs, {"scale": 2.0, "none": None})))
        outputs: Tensor = self.three(found[0] * found[1]["scale"])
        return outputs


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 6)

    def forward(self, given: tuple[Tensor, dict[str, Any]]) -> tuple[Tensor, dict[str, Any]]:
        return self.inside(given[0]), {**given[1], "index": given[0].argmax(dim=1)}


def images() -> nn.Module:
    return build(Resnet(name="resnet", depth=8, width=0.5), 1, 10)


def transformer() -> nn.Module:
    """Whose layers have a fast path that calls none of their modules."""
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), nn.TransformerEncoder(layer, 3), nn.Flatten(), nn.Linear(6, 3))


def chain() -> nn.Module:
    return nn.Sequential(
        *(part for _ in range(4) for part in (nn.Linear(6, 6), nn.ReLU(inplace=True))), nn.Linear(6, 3)
    )


CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "chain": (chain, "6|8"),
    "last layer": (chain, "8"),
    "skip": (lambda: Skipping(late=False), "three|head"),
    "skip of a product": (lambda: Skipping(late=True), "head"),
    "transformer": (transformer, r"layers\.2|^3"),
    "layers that are not called": (lambda: nn.Sequential(nn.Linear(6, 6), Fast(), nn.Linear(6, 6)), "inside"),
    "tuples": (Odd, "three"),
    "residual": (images, "layers.*2|linear"),
}


def planes(model: nn.Module, include: str, batches: list[tuple[Tensor, Tensor]], **more: Any) -> LossPlane:
    objective = Objective(model.eval())
    subspace = Subspace.of(model).select(Random(ignore=(), parameters=Parameters(include=(include,))))
    directions = {axis: random_direction(subspace, "filter", 1, axis) for axis in ("x", "y")}
    treatment = more.pop("treatment", frozen(objective, batches[0]))
    splits = {"": lambda: batches}
    return LossPlane(objective, subspace, directions, treatment, Forward(objective, ExecutionPlan(5)), splits, **more)


def data(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(0)
    convolutional = any(isinstance(each, nn.Conv2d) for each in model.modules())
    inputs = torch.randn(12, *((1, 8, 8) if convolutional else (6,)), generator=draws)
    return list(zip(inputs.split(5), (torch.arange(12) % 3).split(5), strict=True))


def numbers(plane: LossPlane) -> list[dict[str, float]]:
    return [{name: value for name, value in plane(x, y).items() if name != "seconds"} for x, y in POINTS]


@pytest.mark.parametrize("case", CASES)
def test_bitwise_the_network_itself(case: str) -> None:
    build_network, include = CASES[case]
    torch.manual_seed(3)
    model = build_network().eval()
    plain = planes(model, include, data(model))
    plain.prefix = None
    expected = numbers(plain)
    assert len({each["loss"] for each in expected}) == 3
    plain.centre()
    plane = planes(model, include, data(model))
    kept = plane.prefix
    assert kept is not None
    assert numbers(plane) == expected
    assert kept.doubts == []
    attributes = kept.attributes()
    assert float(attributes["frozen_prefix_bytes"]) > 0
    assert float(attributes["frozen_prefix_speedup"]) > 0
    assert not any("forward" in vars(module) for module in model.modules())


def test_modules_before_the_first_moved_one_compute_once() -> None:
    """And little is kept: of a chain the last of them."""
    model, calls = chain(), [0] * 9
    for i, layer in enumerate(model.children()):
        plain = layer.forward

        def counted(inputs: Tensor, i: int = i, plain: Callable[[Tensor], Tensor] = plain) -> Tensor:
            calls[i] += 1
            return plain(inputs)

        layer.forward = counted
    plane = planes(model, "8", data(model))
    calls[:] = [0] * 9
    numbers(plane)
    # Three batches: recorded, computed again where they are verified, and then not at the three other points.
    assert calls == [6] * 8 + [18]
    assert plane.prefix is not None
    assert plane.prefix.attributes()["frozen_prefix"] == "7"
    assert plane.prefix.attributes()["frozen_prefix_bytes"] == 12 * 6 * 4


@pytest.mark.parametrize("include", ["0|6", "."])
def test_where_the_first_layer_moves_nothing_is_kept(include: str) -> None:
    model = chain()
    plane = planes(model, include, data(model))
    numbers(plane)
    assert plane.prefix is not None
    assert plane.prefix.attributes() == {}


@pytest.mark.parametrize(("network", "include"), [(Borrowing, "three"), (Dicing, "two")])
def test_a_network_that_gives_other_losses_is_computed_whole(network: type[nn.Module], include: str) -> None:
    torch.manual_seed(0)
    model = network().eval()
    plane = planes(model, include, data(model))
    assert plane.prefix is not None
    expected = planes(model, include, data(model))
    expected.prefix = None
    torch.manual_seed(1)
    found = numbers(plane)
    assert len(plane.prefix.doubts) == 1
    assert plane.prefix.attributes() == {}
    if network is Borrowing:
        plane.centre()
        assert numbers(expected) == found


def test_one_weight_in_two_layers_moves_with_both() -> None:
    model = Tied()
    plane = planes(model, "first", data(model))
    numbers(plane)
    assert plane.prefix is not None
    assert plane.prefix.attributes() == {}
    assert plane.prefix.doubts == []


def test_statistics_of_every_point_keep_nothing() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    treatment = recalibrate(Objective(model.eval()), lambda: data(model))
    assert planes(model, "2", data(model), treatment=treatment).prefix is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of five examples of 6 float32 numbers fit; the third is computed at every point."""
    monkeypatch.setattr(prefix, "free_memory", lambda _: 4 * 2 * 5 * 6 * 4)
    model = chain()
    plain = planes(model, "8", data(model))
    plain.prefix = None
    expected = numbers(plain)
    plain.centre()
    plane = planes(model, "8", data(model))
    assert numbers(plane) == expected
    assert isinstance(plane.prefix, Prefix)
    assert plane.prefix.attributes()["frozen_prefix_bytes"] == 2 * 5 * 6 * 4
    assert plane.prefix.release()
    assert not plane.prefix.release()
    assert plane.prefix.attributes() == {}
