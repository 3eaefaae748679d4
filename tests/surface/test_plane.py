"""Lines and planes through networks whose loss is known by formula."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.engine.evaluation import Batches
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, undisturbed
from lossviz.surface.batch_norm import by_batch, frozen, recalibrate
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid, Range
from lossviz.surface.plane import LossPlane, quantities
from lossviz.surface.subspace import Subspace
from tests.closed_forms import Quadratic, TwoLayers
from tests.surface.networks import network

X: Range = (0.0, 1.5, 4)
Y: Range = (-1.0, 0.5, 3)
POSITIONS = list(product(np.linspace(*Y), np.linspace(*X)))
DRAWS = np.random.default_rng(2)
Axes = Mapping[str, Vector]


def batches(inputs: Tensor, targets: Tensor, size: int) -> Batches:
    return lambda: zip(torch.split(inputs, size), torch.split(targets, size), strict=True)


def through(objective: Objective, directions: Axes, splits: Mapping[str, Batches], **more: Any) -> LossPlane:
    """A plane through the network as it is."""
    forward = Forward(objective, ExecutionPlan(4))
    treatment = frozen(objective, next(iter(splits[""]())))
    return LossPlane(objective, Subspace.of(objective.model), directions, treatment, forward, splits, **more)


def at_all(part: LossPlane) -> list[dict[str, float]]:
    """Every point of the plane, row by row."""
    return [part(x, y) for y, x in POSITIONS]


@pytest.mark.parametrize("size", [1, 4, 11])
def test_rectangular_quadratic(size: int) -> None:
    """Loss, standard error of the mean and penalty at every point, whatever the batches."""
    quadratic = Quadratic()
    d1, d2 = DRAWS.normal(size=(2, 6))
    directions = {"x": [torch.from_numpy(d1)], "y": [torch.from_numpy(d2)]}
    data = batches(quadratic.inputs, quadratic.targets, size)
    part = through(quadratic.objective, directions, {"": data}, weight_decay=0.3)
    grid = Grid.empty(X, Y, quantities([""], []))
    for index in grid.todo():
        grid.put(index, part(**grid.where(index)))
    assert grid.done == 12
    for i, y in enumerate(np.linspace(*Y)):
        for j, x in enumerate(np.linspace(*X)):
            theta = quadratic.theta + x * d1 + y * d2
            losses, found = quadratic.losses(theta), {name: values[i, j] for name, values in grid.values.items()}
            assert found["loss"] == pytest.approx(losses.mean(), rel=1e-10)
            assert found["loss_stderr"] == pytest.approx(losses.std(ddof=1) / np.sqrt(len(losses)), rel=1e-10)
            assert found["penalty"] == pytest.approx(0.3 / 2 * (theta**2).sum(), rel=1e-10)
            assert np.isnan(found["error"])  # regression has no wrong answers to count


def test_line_through_two_layers() -> None:
    layers = TwoLayers()
    direction = [DRAWS.normal(size=weight.shape) for weight in layers.weights]
    data = batches(layers.batch.inputs, layers.batch.targets, 4)
    part = through(layers.objective, {"x": [torch.from_numpy(one) for one in direction]}, {"": data}, weight_decay=1.0)
    for x in np.linspace(0, 2, 5):
        moved = [weight + x * one for weight, one in zip(layers.weights, direction, strict=True)]
        found = part(x)
        assert found["loss"] == pytest.approx(layers.loss(*moved), rel=1e-10)
        assert found["penalty"] == pytest.approx(sum((weight**2).sum() for weight in moved) / 2, rel=1e-10)


def classification(examples: int, seed: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 2, 3, 3, generator=draws, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (examples,), generator=draws)


def plane(objective: Objective, seed: int = 5) -> dict[str, list[Tensor]]:
    """Gaussian directions of all parameters."""
    draws = torch.Generator().manual_seed(seed)
    return {
        axis: [torch.randn(p.shape, generator=draws, dtype=p.dtype) for p in objective.parameters]
        for axis in ("x", "y")
    }


def penalty_by_hand(objective: Objective, directions: Axes, where: Mapping[str, float], decay: float) -> float:
    total = 0.0
    for i, parameter in enumerate(objective.parameters):
        moved = parameter.detach().double().numpy().copy()
        for axis, step in where.items():
            moved += step * directions[axis][i].double().numpy()
        total += float((moved**2).sum())
    return decay / 2 * total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_penalty_of_a_network(dtype: torch.dtype) -> None:
    """BatchNorm's own parameters count, as they do for weight decay; its statistics do not."""
    objective = Objective(network(dtype=dtype))
    directions = plane(objective)
    inputs, targets = classification(7, 0)
    part = through(objective, directions, {"": batches(inputs.to(dtype), targets, 3)}, weight_decay=5e-4)
    for where in ({"x": 0.0, "y": 0.0}, {"x": 1.5, "y": -1.0}, {"x": -3.0, "y": 20.0}):
        expected = penalty_by_hand(Objective(network(dtype=dtype)), directions, where, 5e-4)
        assert part(**where)["penalty"] == pytest.approx(expected, rel=1e-6 if dtype == torch.float32 else 1e-12)


def test_both_splits_beside_each_other() -> None:
    """Each with its own examples, in batches of its own; the first name has no prefix."""
    objective = Objective(network())
    first, second = classification(10, 0), classification(7, 1)
    directions = plane(objective)
    part = through(objective, directions, {"": batches(*first, 4), "test_": batches(*second, 4)})
    found = part(0.5, -0.25)
    names = ["loss", "loss_stderr", "error", "test_loss", "test_loss_stderr", "test_error", "penalty", "seconds"]
    assert list(found) == names
    assert [*quantities(["", "test_"], []), "seconds"] == names
    by_hand = network().eval()
    with torch.no_grad():
        for parameter, x, y in zip(by_hand.parameters(), *directions.values(), strict=True):
            parameter.add_(0.5 * x - 0.25 * y)
        for prefix, (inputs, targets) in (("", first), ("test_", second)):
            outputs = by_hand(inputs)
            losses = nn.functional.cross_entropy(outputs, targets, reduction="none").numpy()
            assert found[f"{prefix}loss"] == pytest.approx(losses.mean(), rel=1e-10)
            assert found[f"{prefix}loss_stderr"] == pytest.approx(losses.std(ddof=1) / len(losses) ** 0.5, rel=1e-9)
            wrong = int((outputs.argmax(dim=1) != targets).sum())
            assert found[f"{prefix}error"] == pytest.approx(100 * wrong / len(targets))


def test_metrics_are_of_the_first_split() -> None:
    """The norm of the gradient and the ends of the spectrum, as in `quantities`."""
    quadratic = Quadratic()
    direction = torch.from_numpy(DRAWS.normal(size=6))
    data = batches(quadratic.inputs, quadratic.targets, 4)
    other = batches(quadratic.inputs + 100, quadratic.targets, 4)
    part = through(
        quadratic.objective,
        {"x": [direction]},
        {"": data, "test_": other},
        metrics=("gradient", "hessian"),
    )
    found = part(0.75)
    gradient = quadratic.gradient(quadratic.theta + 0.75 * direction.numpy())
    assert found["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-10)
    assert found["hessian_max"] == pytest.approx(8, rel=1e-4)
    assert found["hessian_min"] == pytest.approx(0.5, rel=1e-4)
    assert {*quantities(["", "test_"], ["gradient", "hessian"]), "seconds"} == set(found)


def without_time(found: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in each.items() if name != "seconds"} for each in found]


MODES: dict[str, Callable[[Objective, Batches], Any]] = {
    "frozen": lambda objective, minibatches: frozen(objective, next(iter(minibatches()))),
    "batch": lambda objective, _: by_batch(objective),
    "recalibrate": recalibrate,
}


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_visits_does_not_matter(mode: str) -> None:
    """Not even where a point before was not finite: bitwise, in every mode of BatchNorm."""
    inputs, targets = classification(10, 0)

    def part() -> LossPlane:
        objective = Objective(network())
        found = through(objective, plane(objective), {"": batches(inputs, targets, 4)})
        return replace(found, treatment=MODES[mode](objective, batches(inputs, targets, 6)))

    one, other = part(), part()
    forth = without_time(at_all(one))
    visits = list(enumerate(POSITIONS))
    Random(0).shuffle(visits)
    back = {}
    for i, (y, x) in visits:
        assert not np.isfinite(other(1e200, 1e200)["loss"])
        back[i] = other(x, y)
    assert without_time([back[i] for i in range(len(POSITIONS))]) == forth
    assert all(np.isfinite(each["loss"]) for each in forth)


@pytest.mark.parametrize("mode", MODES)
def test_the_network_is_bitwise_as_it_was(mode: str) -> None:
    """Parameters, buffers, gradients, mode flags of every module and the random numbers of everybody else."""
    model = network(dtype=torch.float32)
    model.append(nn.Dropout(0.5))
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    objective, (inputs, targets) = Objective(model), classification(10, 0)
    model[4].bias.grad = torch.ones(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes, random = [module.training for module in model.modules()], torch.get_rng_state()
    data = batches(inputs.float(), targets, 4)
    with undisturbed(model):
        model.eval()
        found = through(objective, plane(objective), {"": data}, metrics=("gradient",))
        replace(found, treatment=MODES[mode](objective, data))(1.0, 2.0)
        assert not torch.equal(model.get_parameter("4.bias"), before["4.bias"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model[4].bias.grad, torch.ones(3))
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, *[True] * 5]
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if name != "4.bias")


def test_what_does_not_move_is_not_copied() -> None:
    objective, (inputs, targets) = Objective(network().eval()), classification(10, 0)
    subspace = Subspace.of(objective.model).only({"4.weight"})
    directions = {axis: subspace.like(vector) for axis, vector in plane(objective).items()}
    everything = through(objective, directions, {"": batches(inputs, targets, 4)})
    part = replace(everything, subspace=subspace)
    pairs = zip(subspace.tensors, part.theta, strict=True)
    assert [each.name for each, kept in pairs if kept.data_ptr() != each.tensor.data_ptr()] == ["4.weight"]
    assert all(part(x, -x) | {"seconds": 0} == everything(x, -x) | {"seconds": 0} for x in (0.0, 0.5))


def test_the_core_knows_no_run_and_no_report() -> None:
    code = "import sys, lossviz.surface.plane; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    others = {"run", "setup", "progress", "results", "signals", "surface.file", "surface.scan"}
    assert "lossviz.surface.plane" in found
    assert not {f"lossviz.{name}" for name in others} & set(found)
