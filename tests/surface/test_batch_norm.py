"""BatchNorm at a moved point: every mode against the definition written out."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from lossviz.config.model import Noise
from lossviz.engine.evaluation import evaluate
from lossviz.engine.objective import Objective
from lossviz.engine.point import move
from lossviz.models.lp import LpNorm
from lossviz.models.normalization import NoisyBatchNorm1d, NoisyBatchNorm2d
from lossviz.surface.batch_norm import BatchNormTreatment, by_batch, frozen, recalibrate
from lossviz.surface.subspace import Subspace

EPS = 1e-5
STEPS = (-0.7, 0.0, 0.3, 1.5)
NORMS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], nn.Module]]] = {
    "batch": (nn.BatchNorm2d, nn.BatchNorm1d),
    "noisy": (lambda n: NoisyBatchNorm2d(n, Noise()), lambda n: NoisyBatchNorm1d(n, Noise())),
    "l1": (lambda n: LpNorm(n, 1.0), lambda n: LpNorm(n, 1.0)),
    "l2": (lambda n: LpNorm(n, 2.0), lambda n: LpNorm(n, 2.0)),
    "linf": (lambda n: LpNorm(n, float("inf")), lambda n: LpNorm(n, float("inf"))),
}


def network(norm: str) -> nn.Sequential:
    """Convolution and linear layer with a normalisation each; no number is the initial one. In eval mode."""
    images, vectors = NORMS[norm]
    layers = [nn.Conv2d(2, 4, 2), images(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), vectors(5), nn.Linear(5, 3)]
    model = nn.Sequential(*layers).double()
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=draws, dtype=torch.float64) + 0.3)
    return model.eval()


def examples(count: int = 11, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 3, 3, generator=draws, dtype=torch.float64), torch.arange(count) % 3


Statistics = list[tuple[Tensor, Tensor]]
"""Of each of the two normalisations: mean, and variance (BatchNorm) or scale (LpNorm)."""


class ByHand:
    """The network of `network`, written out with plain tensor operations at given parameters."""

    def __init__(self, norm: str, parameters: Sequence[Tensor]) -> None:
        self.norm = norm
        self.conv, self.norms, self.linear, self.last = (
            parameters[:2],
            (parameters[2:4], parameters[6:8]),
            parameters[4:6],
            parameters[8:],
        )

    def of_batch(self, values: Tensor, unbiased: bool) -> tuple[Tensor, Tensor]:
        """Mean and variance, or scale, of a batch of one layer's inputs."""
        rows = values.transpose(0, 1).flatten(1)  # channel by channel
        if self.norm in ("batch", "noisy"):
            away = rows - rows.mean(1, keepdim=True)
            return rows.mean(1), away.square().sum(1) / (rows.shape[1] - unbiased)
        sizes = rows.abs()
        scale = {"l1": sizes.mean(1), "l2": sizes.square().mean(1).sqrt(), "linf": sizes.amax(1)}[self.norm]
        return rows.mean(1), scale

    def normalised(self, layer: int, values: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        shape = (-1, *[1] * (values.dim() - 2))
        gamma, beta = (part.view(shape) for part in self.norms[layer])
        divisor = (spread + EPS).sqrt() if self.norm in ("batch", "noisy") else spread + EPS
        return (values - mean.view(shape)) / divisor.view(shape) * gamma + beta

    def outputs(self, inputs: Tensor, statistics: Statistics | None) -> tuple[Tensor, Statistics]:
        """With given statistics, or with those of the batch; also those of the batch for running averages."""
        seen: Statistics = []
        values = nn.functional.conv2d(inputs, self.conv[0], self.conv[1])
        for layer in (0, 1):
            seen.append(self.of_batch(values, unbiased=True))
            mean, spread = statistics[layer] if statistics else self.of_batch(values, unbiased=False)
            values = self.normalised(layer, values, mean, spread)
            if layer == 0:
                values = nn.functional.linear(values.relu().flatten(1), self.linear[0], self.linear[1])
        return nn.functional.linear(values, self.last[0], self.last[1]), seen


def at_rest(objective: Objective) -> BatchNormTreatment:
    """Frozen, compared with the network on the first examples that fit."""
    inputs = examples()[0]
    fitting = inputs if objective.parameters[0].dim() == 4 else inputs[:, 0, 0]
    return frozen(objective, (fitting, torch.zeros(len(fitting))))


def of_inputs(*parts: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Batches whose classes do not matter."""
    return [(part, torch.zeros(len(part))) for part in parts]


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    return -(outputs.log_softmax(1)[torch.arange(len(targets)), targets])


def in_batches(inputs: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    bounds = [*range(0, len(inputs), size), len(inputs)]
    return [(inputs[i:j], targets[i:j]) for i, j in pairwise(bounds)]


def found(mode: BatchNormTreatment, size: int) -> float:
    return evaluate(Objective(mode.module).losses(mode.network()), in_batches(*examples(), size)).loss


def walk(model: nn.Module) -> list[list[Tensor]]:
    """The parameters at some points of a line, on which the model is put by `step`."""
    draws = torch.Generator().manual_seed(8)
    theta = [parameter.detach().clone() for parameter in model.parameters()]
    direction = [torch.randn(part.shape, generator=draws, dtype=torch.float64) for part in theta]
    return [[part + a * d for part, d in zip(theta, direction, strict=True)] for a in STEPS]


def put(model: nn.Module, parameters: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for mine, value in zip(model.parameters(), parameters, strict=True):
            mine.copy_(value)


def running(model: nn.Module) -> Statistics:
    """The statistics that the network holds."""
    state = model.state_dict()
    spread = "running_scale" if "1.running_scale" in state else "running_var"
    return [(state[f"{layer}.running_mean"].clone(), state[f"{layer}.{spread}"].clone()) for layer in (1, 5)]


def kept(model: nn.Module) -> Callable[[], None]:
    """A check, to be made later, that nothing but parameters was changed since."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes, random = [each.training for each in model.modules()], torch.get_rng_state()
    momenta = [getattr(each, "momentum", None) for each in model.modules()]

    def check() -> None:
        assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
        assert [each.training for each in model.modules()] == modes
        assert [getattr(each, "momentum", None) for each in model.modules()] == momenta
        assert torch.equal(torch.get_rng_state(), random)  # noise layers draw from there

    return check


@pytest.mark.parametrize("norm", NORMS)
def test_frozen(norm: str) -> None:
    """The checkpoint's running statistics at every point."""
    model = network(norm)
    statistics, mode, check = running(model), at_rest(Objective(model)), kept(model)
    for parameters in walk(model):
        put(model, parameters)
        inputs, targets = examples()
        expected = loss_of(ByHand(norm, parameters).outputs(inputs, statistics)[0], targets).mean()
        assert found(mode, 4) == pytest.approx(float(expected), rel=1e-9)
    check()
    assert not mode.by_batch


@pytest.mark.parametrize("size", [4, 3, 11])
@pytest.mark.parametrize("norm", NORMS)
def test_by_batch(norm: str, size: int) -> None:
    """The statistics of each minibatch, of a smaller last one too; the loss is the mean over examples, not batches."""
    model = network(norm)
    mode, check = by_batch(Objective(model)), kept(model)
    for parameters in walk(model):
        put(model, parameters)
        by_hand, total = ByHand(norm, parameters), 0.0
        for inputs, targets in in_batches(*examples(), size):
            total += float(loss_of(by_hand.outputs(inputs, None)[0], targets).sum())
        assert found(mode, size) == pytest.approx(total / 11, rel=1e-9)
    check()
    assert mode.by_batch


def averaged(by_hand: ByHand, minibatches: Sequence[Tensor]) -> Statistics:
    """Average over minibatches, by their sizes, of mean and unbiased variance (or scale) of each."""
    seen = [by_hand.outputs(inputs, None)[1] for inputs in minibatches]
    weights = [len(inputs) / sum(map(len, minibatches)) for inputs in minibatches]

    def average(layer: int, part: int) -> Tensor:
        return sum((w * each[layer][part] for w, each in zip(weights, seen, strict=True)), torch.zeros(()))

    return [(average(layer, 0), average(layer, 1)) for layer in (0, 1)]


@pytest.mark.parametrize("sizes", [(5, 5, 5), (7,), (6, 6, 2)])
@pytest.mark.parametrize("norm", NORMS)
def test_recalibrate(norm: str, sizes: tuple[int, ...]) -> None:
    """New statistics at every point, whatever the last one left, and then the same for every example."""
    model = network(norm)
    minibatches = list(torch.split(examples(sum(sizes), seed=1)[0], list(sizes)))
    mode, check = recalibrate(Objective(model), lambda: of_inputs(*minibatches)), kept(model)
    for parameters in walk(model):
        put(model, parameters)
        by_hand, (inputs, targets) = ByHand(norm, parameters), examples()
        statistics = averaged(by_hand, minibatches)
        expected = float(loss_of(by_hand.outputs(inputs, statistics)[0], targets).mean())
        assert found(mode, 4) == pytest.approx(expected, rel=1e-9)
        assert found(mode, 11) == pytest.approx(expected, rel=1e-9)
        assert float(loss_of(mode.module(inputs), targets).mean().detach()) == pytest.approx(expected, rel=1e-9)
    check()
    assert not mode.by_batch


@pytest.mark.parametrize("norm", NORMS)
def test_recalibrate_forgets_a_point_that_was_not_finite(norm: str) -> None:
    model = network(norm)
    mode = recalibrate(Objective(model), lambda: of_inputs(examples(6, seed=1)[0]))
    mode.network()
    before = found(mode, 4)
    theta = [parameter.detach().clone() for parameter in model.parameters()]
    for strange in (float("inf"), float("nan")):
        put(model, [torch.full_like(part, strange) for part in theta])
        mode.network()
        put(model, theta)
        assert found(mode, 4) == before


@pytest.mark.parametrize("norm", NORMS)
def test_interpolate(norm: str) -> None:
    """Running statistics move like the parameters: theta + x d of both."""
    model = network(norm)
    subspace = Subspace.of(model, statistics=True)
    draws = torch.Generator().manual_seed(8)
    origin = [tensor.detach().clone() for tensor in subspace.theta]
    direction = [0.2 * torch.rand(part.shape, generator=draws, dtype=torch.float64) for part in origin]
    mode = at_rest(Objective(model))
    names = [each.name for each in subspace.tensors]
    spread = "running_scale" if "1.running_scale" in names else "running_var"
    for a in STEPS:
        move(subspace.theta, origin, (a, direction))
        there = dict(zip(names, (part + a * d for part, d in zip(origin, direction, strict=True)), strict=True))
        parameters = [there[name] for name, _ in model.named_parameters()]
        statistics = [(there[f"{layer}.running_mean"], there[f"{layer}.{spread}"]) for layer in (1, 5)]
        inputs, targets = examples()
        expected = loss_of(ByHand(norm, parameters).outputs(inputs, statistics)[0], targets).mean()
        assert found(mode, 4) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("make", [at_rest, by_batch])
def test_gradients_are_those_of_the_parameters_that_move(make: Callable[[Objective], BatchNormTreatment]) -> None:
    """`module` has the network's very parameters, and the loss of `network` changes along them as its gradient says."""
    model = network("batch")
    mode = make(Objective(model))
    put(model, walk(model)[2])
    inputs, targets = examples()
    mode.network()
    gradients = torch.autograd.grad(loss_of(mode.module(inputs), targets).mean(), list(model.parameters()))
    draws = torch.Generator().manual_seed(4)
    direction = [torch.randn(part.shape, generator=draws, dtype=torch.float64) for part in model.parameters()]
    here, values = [parameter.detach().clone() for parameter in model.parameters()], []
    for a in (1e-6, -1e-6):
        move(list(model.parameters()), here, (a, direction))
        values.append(found(mode, 11))
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


def test_dropout_is_off() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.9)).double().eval()
    inputs = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for mode in (
        by_batch(Objective(model)),
        recalibrate(Objective(model), lambda: of_inputs(inputs)),
        at_rest(Objective(model)),
    ):
        with torch.no_grad():
            assert torch.equal(mode.network()(inputs), mode.network()(inputs))


def test_a_network_without_normalisation() -> None:
    """Every mode is the network itself."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    inputs = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for mode in (
        by_batch(Objective(model)),
        recalibrate(Objective(model), lambda: of_inputs(inputs)),
        at_rest(Objective(model)),
    ):
        with torch.no_grad():
            assert torch.equal(mode.network()(inputs), model(inputs))
