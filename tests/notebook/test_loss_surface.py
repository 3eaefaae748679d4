"""`lossviz.loss_surface` on a person's own network."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lossviz import loss_surface
from lossviz.config.directions import Parameters, Pca, Random, Toward
from lossviz.errors import RequestError
from tests.closed_forms import Offset, Quadratic, TwoLayers

X, Y = (-1.0, 1.0, 5), (0.0, 1.5, 4)
TOWARD = Toward(checkpoints=("there",))


def in_batches(inputs: Tensor, targets: Tensor, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))


def test_a_quadratic_on_a_rectangular_grid() -> None:
    """Loss and standard error against the formula; the network knows nothing of lossviz."""
    quadratic = Quadratic()
    draws = np.random.default_rng(5).normal(size=(2, 6))
    found = loss_surface(
        Offset(torch.from_numpy(quadratic.theta)),
        in_batches(quadratic.inputs, quadratic.targets),
        quadratic.loss,
        x=X,
        y=Y,
        directions={"x": {"theta": torch.from_numpy(draws[0])}, "y": {"theta": torch.from_numpy(draws[1])}},
    )
    assert dict(found.sizes) == {"y": 4, "x": 5}
    for y in np.linspace(*Y):
        for x in np.linspace(*X):
            losses, point = quadratic.losses(quadratic.theta + x * draws[0] + y * draws[1]), found.sel(x=x, y=y)
            assert float(point.loss) == pytest.approx(losses.mean(), rel=1e-10)
            assert float(point.loss_stderr) == pytest.approx(losses.std(ddof=1) / 11**0.5, rel=1e-10)
    assert np.isnan(found.error).all()
    assert (found.status == 1).all()
    assert set(found.data_vars) == {"loss", "loss_stderr", "error", "status", "seconds"}
    assert found.attrs["x_norm"] == pytest.approx(np.linalg.norm(draws[0]), rel=1e-6)


def test_some_parameters_on_a_line() -> None:
    """Those that no direction names stay."""
    layers = TwoLayers()
    part = np.random.default_rng(6).normal(size=layers.weights[1].shape)
    found = loss_surface(
        layers.model,
        in_batches(layers.batch.inputs, layers.batch.targets),
        layers.per_example,
        x=X,
        directions={"x": {"1.weight": torch.from_numpy(part)}},
    )
    expected = [layers.loss(layers.weights[0], layers.weights[1] + x * part) for x in np.linspace(*X)]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-10)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 4)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    return model


def data(count: int = 22) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, generator=draws, dtype=torch.float64), torch.arange(count) % 4


def by_hand(model: nn.Sequential, batches: list[tuple[Tensor, Tensor]], batch_norm: str) -> float:
    """Mean cross-entropy, with BatchNorm written out."""
    weight, norm, last = model[0], model[1], model[4]
    assert isinstance(norm, nn.BatchNorm1d)
    rows = torch.cat([inputs for inputs, _ in batches])
    hidden = [weight(inputs) for inputs, _ in batches]
    total = 0.0
    for values, (_, targets) in zip(hidden, batches, strict=True):
        mean, variance = norm.running_mean, norm.running_var
        if batch_norm == "batch":
            mean, variance = values.mean(0), values.var(0, unbiased=False)
        elif batch_norm == "recalibrate":
            shares = [len(each) / len(rows) for each in hidden]
            mean = sum(share * each.mean(0) for share, each in zip(shares, hidden, strict=True))
            variance = sum(share * each.var(0) for share, each in zip(shares, hidden, strict=True))
        assert isinstance(mean, Tensor)
        assert isinstance(variance, Tensor)
        normalised = (values - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
        total += float(nn.functional.cross_entropy(last(normalised.relu()), targets, reduction="sum"))
    return total / len(rows)


@pytest.mark.parametrize("batch_norm", ["frozen", "batch", "recalibrate"])
def test_each_choice_of_batch_norm(batch_norm: Any) -> None:
    """At every point, with a smaller last batch; and the network stays what it was, also where it is in training."""
    model, batches = network().train(), in_batches(*data())
    model[1].eval()
    model[4].bias.grad = torch.ones(4, dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes, random = [module.training for module in model.modules()], torch.get_rng_state()
    draws = torch.Generator().manual_seed(2)
    direction = {n: torch.randn(p.shape, generator=draws, dtype=p.dtype) for n, p in model.named_parameters()}
    found = loss_surface(model, batches, x=X, directions={"x": direction}, batch_norm=batch_norm)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model[4].bias.grad, torch.ones(4, dtype=torch.float64))
    for x in np.linspace(*X):
        moved = network().eval()
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter.add_(float(x) * direction[name])
            assert float(found.loss.sel(x=x)) == pytest.approx(by_hand(moved, batches, batch_norm), rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "label"), [(None, -100), (nn.CrossEntropyLoss(reduction="none", ignore_index=255), 255)]
)
def test_labels_that_the_loss_ignores_do_not_count(loss: Any, label: int) -> None:
    """Half of them: the loss is that of torch's mean, not half of it."""
    inputs, targets = data()
    targets[::2] = label
    found = loss_surface(network(), in_batches(inputs, targets), loss, x=X).sel(x=0)
    with torch.no_grad():
        outputs = network().eval()(inputs)
    expected = nn.functional.cross_entropy(outputs, targets, ignore_index=label)
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-10)
    wrong = (outputs.argmax(dim=1) != targets)[1::2].double().mean()
    assert float(found.error) == pytest.approx(100 * float(wrong), rel=1e-12)


def test_gaussian_directions_by_default() -> None:
    """Filter-normalised, reproducible by their seed; biases and normalisation stay."""
    batches = in_batches(*data())
    first, again = (loss_surface(network(), batches, x=X, y=Y) for _ in range(2))
    np.testing.assert_array_equal(first.loss, again.loss)
    other = loss_surface(network(), batches, x=X, y=Y, directions=Random(seed=5))
    assert not np.array_equal(first.loss, other.loss)
    weights = [network().state_dict()[name] for name in ("0.weight", "4.weight")]
    assert first.attrs["x_norm"] == pytest.approx(float(torch.cat([w.flatten() for w in weights]).norm()), rel=1e-6)
    last = Random(parameters=Parameters(include=("^4",)))
    assert loss_surface(network(), batches, x=X, directions=last).attrs["x_norm"] < first.attrs["x_norm"]


def test_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, for batches of the first one's size; to the same numbers."""
    seen = []

    def compiled(forward: Any, **_: Any) -> Any:
        seen.append(forward)
        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    found = loss_surface(network(), in_batches(*data()), x=X, compile=True)
    assert len(seen) == 1
    np.testing.assert_allclose(found.loss, loss_surface(network(), in_batches(*data()), x=X).loss, rtol=1e-12)


def test_progress_is_shown_if_wanted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossviz.progress.SECONDS_BETWEEN_LINES", 0.0)
    loss_surface(network(), in_batches(*data()), x=X)
    assert capsys.readouterr().out == ""
    loss_surface(network(), in_batches(*data()), x=X, progress=True)
    assert "loss surface: 5 of 5 points" in capsys.readouterr().out


def test_too_little_memory_halves_the_batches() -> None:
    class Narrow(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            if len(inputs) > 40:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(inputs)

    torch.manual_seed(0)
    model = Narrow(3, 4).double()
    with pytest.warns(UserWarning, match="out of memory: continuing with 25 examples a batch") as warned:
        found = loss_surface(model, in_batches(*data(100), 100), x=X, directions={"x": {"bias": torch.ones(4)}})
    assert {each.filename for each in warned} == {__file__}  # and not where lossviz found it out
    with torch.no_grad():
        outputs = nn.functional.linear(data(100)[0], model.weight, model.bias)
    expected = nn.functional.cross_entropy(outputs, data(100)[1])
    assert float(found.loss.sel(x=0)) == pytest.approx(float(expected), rel=1e-10)


def test_squared_error_of_float_targets_by_default() -> None:
    """Cross-entropy would take them for probabilities."""
    inputs, targets = data()[0], torch.rand(22, 4, dtype=torch.float64)
    found = loss_surface(network(), in_batches(inputs, targets), x=X)
    with torch.no_grad():
        expected = (network().eval()(inputs) - targets).square().sum(dim=1).mean()
    assert float(found.loss.sel(x=0)) == pytest.approx(float(expected), rel=1e-10)


def test_a_data_loader_and_the_random_numbers_of_everybody_else() -> None:
    """It draws a number whenever it begins, even where it does not shuffle."""
    loader = DataLoader(TensorDataset(*data()), batch_size=4)
    state = torch.get_rng_state()
    found = loss_surface(network(), loader, x=X)
    assert not np.array_equal(found.loss[0], found.loss[1])
    random = torch.random.get_rng_state()
    torch.set_rng_state(state)
    network()
    assert torch.equal(random, torch.get_rng_state())
    np.testing.assert_array_equal(found.loss, loss_surface(network(), in_batches(*data()), x=X).loss)


class InPlace(nn.Module):
    """Works on what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4).double()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs.mul_(2))
        return outputs


def test_the_data_stay() -> None:
    inputs, targets = data()
    before = inputs.clone()
    loss_surface(InPlace(), [(inputs, targets)], x=X)
    assert torch.equal(inputs, before)


def test_a_point_that_is_not_finite_is_a_result() -> None:
    huge = {"x": {"4.weight": torch.full((4, 8), 1e308, dtype=torch.float64)}}
    found = loss_surface(network(), in_batches(*data()), x=(0, 100, 3), directions=huge)
    assert found.status.values.tolist() == [1, 2, 2]
    assert not np.isfinite(found.loss.values[1:]).any()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"directions": {"x": {"4.bias": torch.zeros(5)}}}, r"4\.bias'\]: is \(5,\), and the parameter \(4,\)"),
        ({"directions": {"x": {"bias": torch.zeros(5)}}}, "no parameter bias"),
        ({"directions": {"y": {"4.bias": torch.ones(4)}}}, "has no x"),
        ({"directions": {"x": {"4.bias": torch.ones(4)}}, "y": Y}, "has no y"),
        ({"directions": {"kind": "gradient"}}, r"has no x\n  accepted: .*\n  .*Gradient\(\) of lossviz"),
        ({"directions": {"x": {"4.bias": torch.zeros(4)}}}, "x is zero"),
        ({"directions": {"x": {}}}, "x is zero"),
        ({"loss": nn.functional.cross_entropy}, r"gave \(\) for 4 examples"),
        ({"loss": lambda outputs, _: outputs}, r"gave \(4, 4\) for 4 examples"),
        ({"x": (1.0, -1.0, 5)}, r"x = \(1\.0, -1\.0, 5\)"),
        ({"x": (0.0, 1.0, 1)}, r"x = \(0\.0, 1\.0, 1\)"),
        ({"x": (-1, 1)}, r"x = \(-1, 1\)\n  accepted: min, max and number of points"),
        ({"directions": "pca"}, "directions = 'pca'\n  accepted: Random"),
        ({"batch_norm": "running"}, "batch_norm = 'running'\n  accepted: frozen, batch, recalibrate or interpolate"),
        ({"batch_norm": "interpolate"}, "surface.batch_norm = interpolate: needs directions with running statistics"),
        ({"metrics": ["loss"]}, "metrics = 'loss'\n  accepted: gradient or hessian"),
        ({"directions": TOWARD, "y": Y}, "a plane needs two checkpoints"),
        ({"directions": TOWARD, "checkpoints": {"a": {}}}, r"there: there is no such network\n  accepted: a or a path"),
        ({"directions": TOWARD, "checkpoints": {"there": {}}}, r"there: belongs to another network: 0\.weight"),
        ({"directions": Pca()}, "needs 2 checkpoints or more"),
        ({"batches": [(data()[0], torch.zeros(22))]}, r"outputs are \(22, 4\) and targets \(22,\)"),
        ({"y": (0.0, 0.0, 3)}, r"y = \(0\.0, 0\.0, 3\)"),
        ({"y": 5}, "y = 5\n  accepted: min, max"),
        ({"batches": TensorDataset(*data())}, "batches: one example and its target.*\n  accepted: .*DataLoader"),
        ({"batches": iter(in_batches(*data()))}, "only once"),
        ({"directions": Random(parameters=Parameters(include=("conv",)))}, "no parameter"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], named: str) -> None:
    """And the network stays what it was."""
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RequestError, match=named):
        loss_surface(model, **{"batches": in_batches(*data()), "x": X, **arguments})
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training


def test_the_unit_is_that_of_the_loss() -> None:
    """Nats where classes are judged by default; none of vectors, and of a person's own loss."""
    inputs, classes = data()
    for targets, loss, said in (
        (classes, None, ("cross-entropy", "nat")),
        (torch.zeros_like(inputs[:, :1]).expand(-1, 4), None, ("squared-error", "1")),
        (classes, lambda outputs, _: outputs.square().sum(1), ("own", "1")),
    ):
        found = loss_surface(network(), in_batches(inputs, targets), loss, x=X)
        assert (found.attrs["loss_function"], found.loss.attrs["units"]) == said
        assert found.loss_stderr.attrs["units"] == said[1]
        assert found.error.attrs["units"] == "%"
