"""`lossviz.loss_surface` of losses of the model, on batches of any form; and the file that it saves."""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from lossviz import loss_surface
from lossviz.config.directions import Directions, Gradient, Hessian, Pca, Random, Toward
from lossviz.errors import RequestError
from lossviz.notebook import kept
from lossviz.results import load_results
from lossviz.surface.plane import LossPlane
from tests.closed_forms import Parabola, slope_residual
from tests.faults.tiny import lossviz
from tests.notebook.test_directions import other_network
from tests.notebook.test_loss_surface import X, Y, data, in_batches, network


def closure(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    return functional.cross_entropy(model(batch["nested"][0]), batch["label"], reduction="none")


def as_mappings(size: int = 4) -> list[dict[str, Any]]:
    return [{"nested": (inputs,), "label": targets, "name": "x"} for inputs, targets in in_batches(*data(), size)]


STATES = {f"n{seed}": other_network(seed).state_dict() for seed in range(3)}
KINDS: dict[str, Directions] = {
    "random": Random(seed=3),
    "toward": Toward(checkpoints=("n0", "n1")),
    "pca": Pca(checkpoints=("n0", "n1", "n2")),
    "hessian": Hessian(examples="all"),
    "gradient": Gradient(examples="all"),
}


@pytest.mark.parametrize("batch_norm", ["frozen", "batch", "recalibrate"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_closure_gives_bitwise_what_the_built_in_loss_gives(kind: str, batch_norm: Any) -> None:
    """In every kind of direction and mode of BatchNorm; all but the error, which a closure does not know."""
    given: dict[str, Any] = {
        "x": (-1.0, 1.0, 3),
        "y": (-0.5, 0.5, 2),
        "directions": KINDS[kind],
        "checkpoints": STATES,
        "batch_norm": batch_norm,
        "metrics": ["gradient", "hessian"] if kind == "random" else [],
    }
    expected = loss_surface(network(), in_batches(*data()), **given)
    found = loss_surface(network(), as_mappings(), closure, **given)
    left_out = ["seconds", "error", *(["checkpoint_error", "checkpoint_outputs"] if "checkpoint" in found.dims else [])]
    xr.testing.assert_equal(found.drop_vars(left_out), expected.drop_vars(left_out))
    assert np.isnan(found.error).all()
    assert found.loss.attrs["units"] == "1"


def test_terms_and_ratios() -> None:
    """Each a variable with its standard error; against a loop."""

    def loss(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
        outputs = model(batch["nested"][0])
        return {
            "mean": (outputs.sum(1), 1 + batch["label"]),
            "first": outputs[:, 0],
            "half": outputs[::2, 1],
        }

    found = loss_surface(network(), as_mappings(), loss, x=(-1.0, 1.0, 3), directions=Random(seed=1)).sel(x=0)
    with torch.no_grad():
        outputs = network().eval()(data()[0]).numpy()
    counts = 1 + data()[1].numpy()
    sums, ratio = outputs.sum(1), outputs.sum() / counts.sum()
    away = ((sums - ratio * counts) ** 2).sum()
    assert float(found.loss) == pytest.approx(ratio, rel=1e-10)
    assert float(found.loss_stderr) == pytest.approx((22 / 21 * away) ** 0.5 / counts.sum(), rel=1e-10)
    assert float(found.loss_first) == pytest.approx(outputs[:, 0].mean(), rel=1e-10)
    assert float(found.loss_first_stderr) == pytest.approx(outputs[:, 0].std(ddof=1) / 22**0.5, rel=1e-10)
    half = np.concatenate([part[::2, 1] for part in np.split(outputs, [4, 8, 12, 16, 20])])
    assert float(found.loss_half) == pytest.approx(half.mean(), rel=1e-10)
    assert found.loss_half.attrs["long_name"] == "term half of the mean data loss"


def test_a_residual_of_a_derivative_by_the_input() -> None:
    """f(x) = w x^2, residual f' - 2 x: the loss is 4 (w - 1)^2 mean x^2, its curvature 8 mean x^2, everywhere."""
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    direction = {"x": {"w": torch.ones(1, dtype=torch.float64)}}
    found = loss_surface(
        Parabola(), [x[:5], x[5:]], slope_residual, x=X, directions=direction, metrics=["gradient", "hessian"]
    )
    w, mean = 3 + found.x.values, float(x.square().mean())
    np.testing.assert_allclose(found.loss, 4 * (w - 1) ** 2 * mean, rtol=1e-12)
    np.testing.assert_allclose(found.grad_norm, 8 * (w - 1) * mean, rtol=1e-12)
    np.testing.assert_allclose(found.hessian_max, 8 * mean, rtol=1e-9)


class Stopping:
    """Batches that break off after some points."""

    def __init__(self, batches: list[Any], after: int) -> None:
        self.batches, self.left = batches, after

    def __iter__(self) -> Iterator[Any]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return iter(self.batches)


@pytest.mark.parametrize("kind", ["random", "toward"])
def test_a_surface_is_saved_while_it_grows_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """To the numbers of one that was never stopped, and without computing a point twice but for one."""
    monkeypatch.setattr(kept, "SECONDS_BETWEEN_SAVES", 0.0)
    given: dict[str, Any] = {"x": X, "y": Y, "directions": KINDS[kind], "checkpoints": STATES, "metrics": ["gradient"]}
    file = tmp_path / "mine.nc"
    whole = loss_surface(network(), as_mappings(), closure, **given)
    with pytest.raises(KeyboardInterrupt):
        loss_surface(network(), Stopping(as_mappings(), 25), closure, save=file, **given)
    there = int((load_results(file).status > 0).sum())
    assert 0 < there < 20
    calls = [0]
    measure = LossPlane.__call__

    def counted(self: LossPlane, *where: float, **by_axis: float) -> dict[str, float]:
        calls[0] += 1
        return measure(self, *where, **by_axis)

    monkeypatch.setattr(LossPlane, "__call__", counted)
    found = loss_surface(network(), as_mappings(), closure, save=str(file), **given)
    assert calls == [20 - there]
    xr.testing.assert_equal(found.drop_vars("seconds"), whole.drop_vars("seconds"))
    xr.testing.assert_identical(load_results(file), found)
    # A finer grid keeps what is there.
    finer = loss_surface(network(), as_mappings(), closure, save=file, **{**given, "x": (-1.0, 1.0, 9)})
    assert calls == [20 - there + 16]
    np.testing.assert_array_equal(finer.loss.sel(x=found.x), found.loss)


def other(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    return 2 * closure(model, batch)


NEARLY = {**as_mappings()[-1], "nested": (as_mappings()[-1]["nested"][0] + 1e-5,)}
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "network": ({"model": other_network(1)}, "the surface of another network"),
    "first batch": ({"batches": as_mappings(5)}, "the surface of other batches"),
    "directions": ({"directions": Random(seed=2)}, "the surface of other directions"),
    "batch_norm": ({"batch_norm": "batch"}, "the surface of another batch_norm"),
    "last batch": ({"batches": as_mappings()[:-1]}, "the surface of other batches"),
    "a batch that hardly changes the loss": (
        {"batches": [*as_mappings()[:-1], NEARLY]},
        "the surface of other batches",
    ),
    "loss": ({"loss": other}, "another loss: "),
    "metrics": ({"metrics": ["gradient"]}, "other axes, metrics or terms of the loss"),
    "axes": ({"y": Y}, "the surface of other directions"),
    "points": ({"x": (-1.0, 1.0, 4)}, "points that x and y do not have"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    changed, problem = OTHERS[name]
    given: dict[str, Any] = {
        "model": network(),
        "batches": as_mappings(),
        "loss": closure,
        "x": (-1.0, 1.0, 3),
        "directions": Random(seed=1),
        "save": tmp_path / "mine.nc",
    }
    loss_surface(**given)
    before = (tmp_path / "mine.nc").read_bytes()
    with pytest.raises(RequestError) as caught:
        loss_surface(**{**given, **changed})
    assert f"mine.nc: holds {problem}" in str(caught.value)
    assert (tmp_path / "mine.nc").read_bytes() == before


@pytest.mark.parametrize(
    ("batches", "loss", "message"),
    [
        ([], closure, "batches: are none\n"),
        ([{"x": torch.ones(2, 3)}], None, "batches: dict\n  accepted: (inputs, targets), two tensors; or"),
        (as_mappings(), lambda model, batch: closure(model, batch).mean(), "the loss: returned one number"),
        (as_mappings(), lambda model, batch: closure(model, batch) * torch.rand(()), "the loss: draws random numbers"),
        (
            as_mappings(),
            lambda model, batch: closure(model, batch)[:0],
            "the loss: returned no value: ",
        ),
    ],
)
def test_what_cannot_be_is_refused(batches: Any, loss: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        loss_surface(network(), batches, loss, x=X)
    assert str(caught.value).startswith(message)


def test_the_file_is_drawn_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loss_surface(network(), as_mappings(), closure, x=X, y=Y, save="mine.nc")
    answer = lossviz("plot", "mine.nc")
    assert answer.status == 0, answer.err
    assert (tmp_path / "figures" / "surface-mine-contour.png").is_file()


def in_bfloat16(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(batch["nested"][0])
    return functional.cross_entropy(scores.float(), batch["label"], reduction="none")


@pytest.mark.parametrize("loss", [closure, in_bfloat16])
def test_the_caller_s_autocast_does_not_matter(loss: Any) -> None:
    """Within it torch would keep the weights of the first point, also for a loss that has an autocast of its own."""
    model = network().float()
    batches = [{**each, "nested": (each["nested"][0].float(),)} for each in as_mappings()]
    expected = loss_surface(model, batches, loss, x=(-1, 1, 3)).loss
    with torch.autocast("cpu", torch.bfloat16):
        found = loss_surface(model, batches, loss, x=(-1, 1, 3)).loss
    xr.testing.assert_identical(found, expected)
    assert len(np.unique(found)) == 3


class Named(nn.Module):
    """Outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"scores": self.layer(inputs)}


def test_a_network_of_several_outputs_is_told_of_closures() -> None:
    batches = [(torch.randn(4, 3), torch.arange(4) % 2)]
    with pytest.raises(RequestError) as caught:
        loss_surface(Named(), batches, x=X)
    assert str(caught.value).startswith("the network returns dict\n") and "loss(model, batch)" in str(caught.value)


def test_a_closure_that_does_not_name_its_model_is_told_to() -> None:
    def misnamed(net: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(net(batch[0]), batch[1], reduction="none")

    with pytest.raises(TypeError) as caught:
        loss_surface(nn.Linear(3, 2), [(torch.randn(4, 3), torch.arange(4) % 2)], misnamed, x=X)
    assert "first parameter is not named model" in "".join(caught.value.__notes__)


def test_a_loss_of_another_network_is_doubted() -> None:
    other, batches = nn.Linear(3, 2), [torch.randn(4, 3)]
    with pytest.warns(UserWarning, match="the loss is the same at all points"):
        loss_surface(nn.Linear(3, 2), batches, lambda model, batch: other(batch).square().sum(1), x=X)


def test_outputs_may_be_complex() -> None:
    """They are no scores of classes; the loss is what the function makes of them."""
    model, inputs, labels = nn.Linear(3, 3), torch.randn(4, 3), torch.arange(4) % 2
    spectrum = nn.Sequential(model, _Spectrum())
    found = loss_surface(spectrum, [(inputs, labels)], lambda outputs, _: outputs.abs().square().sum(1), x=(0, 1, 2))
    assert found.loss[0].item() == pytest.approx(torch.fft.rfft(model(inputs)).abs().square().sum(1).mean().item())
    assert found.error.isnull().all()


class _Spectrum(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfft(inputs)
        return spectrum


def test_batches_that_are_others_every_time_are_warned_of() -> None:
    """A random transform shows as noise of the surface; in a list or in an order of its own, all are the same."""
    model, data = nn.Linear(3, 2), TensorDataset(torch.randn(16, 3), torch.arange(16) % 2)
    with pytest.warns(UserWarning, match="the first batch differs every time"):
        loss_surface(model, DataLoader(data, 8, sampler=WeightedRandomSampler([1.0] * 16, 8)), x=(-1, 1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_surface(model, DataLoader(data, 8, sampler=range(15, -1, -1)), x=(-1, 1, 2))
