"""`lossviz.loss_surface` along directions of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lossviz import loss_surface
from lossviz.config.directions import File, Gradient, Hessian, Pca, Random, Toward
from lossviz.engine.checkpoint import save_tensors
from lossviz.errors import RequestError
from tests.closed_forms import Offset, Once, Quadratic
from tests.notebook.test_loss_surface import X, data, in_batches, network


def other_network(seed: int) -> nn.Sequential:
    model, draws = network(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=draws, dtype=torch.float64))
    return model


def loss_of(model: nn.Module) -> float:
    inputs, targets = data()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model.eval()(inputs), targets))


def test_toward_other_networks() -> None:
    """With statistics that move along, the corners are those networks, which are marked."""
    states = {"there": other_network(1).state_dict(), "elsewhere": other_network(2).state_dict()}
    found = loss_surface(
        network(),
        in_batches(*data()),
        x=("auto", "auto", 5),
        y=("auto", "auto", 5),
        directions=Toward(checkpoints=("there", "elsewhere")),
        batch_norm="interpolate",
        checkpoints=states,
    )
    assert (float(found.x.min()), float(found.x.max())) == (-0.5, 1.5)
    for (x, y), model in {(0, 0): network(), (1, 0): other_network(1), (0, 1): other_network(2)}.items():
        assert float(found.loss.sel(x=x, y=y)) == pytest.approx(loss_of(model), rel=1e-9)
    assert found.checkpoint.values.tolist() == ["there", "elsewhere"]
    np.testing.assert_allclose(found.checkpoint_loss, [loss_of(other_network(seed)) for seed in (1, 2)], rtol=1e-9)
    np.testing.assert_allclose(found.checkpoint_x, [1, 0], atol=1e-9)


def test_the_plane_of_some_checkpoints(tmp_path: Path) -> None:
    """The same through state_dicts and through files; it holds the networks that span it."""
    states = {str(seed): other_network(seed).state_dict() for seed in (1, 2, 3)}
    paths = []
    for name, state in states.items():
        paths.append(str(tmp_path / f"{name}.safetensors"))
        save_tensors(Path(paths[-1]), state)
    axes: Any = {"x": ("auto", "auto", 5), "y": ("auto", "auto", 4)}
    found, files = (
        loss_surface(network(), in_batches(*data()), directions=wanted, checkpoints=given, **axes)
        for wanted, given in ((Pca(), states), (Pca(checkpoints=tuple(paths)), {}))
    )
    np.testing.assert_array_equal(found.loss, files.loss)
    assert found.attrs["x_explained_variance"] + found.attrs["y_explained_variance"] == pytest.approx(1, rel=1e-9)
    assert found.checkpoint.values.tolist() == ["1", "2", "3"]


def test_directions_of_the_loss_itself() -> None:
    """-grad L and eigenvectors of the Hessian of a quadratic, and what metrics say along them."""
    quadratic = Quadratic()
    model, batches = Offset(torch.from_numpy(quadratic.theta)), in_batches(quadratic.inputs, quadratic.targets)
    more: Any = {"loss": quadratic.objective.loss, "x": X, "metrics": ["gradient", "hessian"]}
    down = loss_surface(model, batches, directions=Gradient(), **more)
    gradient = quadratic.gradient(quadratic.theta)
    assert down.attrs["x_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-10)
    assert float(down.grad_norm.sel(x=0)) == pytest.approx(np.linalg.norm(gradient), rel=1e-10)
    expected = [quadratic.losses(quadratic.theta - x * gradient).mean() for x in np.linspace(*X)]
    np.testing.assert_allclose(down.loss, expected, rtol=1e-10)
    sharpest = loss_surface(model, batches, directions=Hessian(), **more)
    assert sharpest.attrs["x_eigenvalue"] == pytest.approx(quadratic.eigenvalues[-1], rel=1e-4)
    np.testing.assert_allclose(sharpest.hessian_min, quadratic.eigenvalues[0], rtol=1e-3)
    curvature = np.diff(sharpest.loss, n=2) / 0.5**2
    np.testing.assert_allclose(curvature, quadratic.eigenvalues[-1], rtol=1e-3)


def test_the_first_examples_make_a_direction() -> None:
    inputs, targets = data()
    few = Gradient(examples=6)
    found = loss_surface(network(), in_batches(inputs, targets), x=X, directions=few)
    only = loss_surface(network(), in_batches(inputs[:6], targets[:6]), x=X, directions=Gradient())
    assert found.attrs["x_norm"] == pytest.approx(only.attrs["x_norm"], rel=1e-12)


def test_directions_of_a_file(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(2)
    direction = {n: torch.randn(p.shape, generator=draws, dtype=p.dtype) for n, p in network().named_parameters()}
    path = tmp_path / "directions.safetensors"
    save_tensors(path, {f"x/{name}": part for name, part in direction.items()})
    found = loss_surface(network(), in_batches(*data()), x=X, directions=File(path=str(path)))
    np.testing.assert_array_equal(
        found.loss, loss_surface(network(), in_batches(*data()), x=X, directions={"x": direction}).loss
    )


def test_statistics_that_a_person_moves() -> None:
    """By the names of the buffers; what is not named stays."""
    step = torch.full((8,), 0.5, dtype=torch.float64)
    found = loss_surface(
        network(),
        in_batches(*data()),
        x=X,
        directions={"x": {"1.running_mean": step, "4.bias": torch.ones(4)}},
        batch_norm="interpolate",
    )
    for x in np.linspace(*X):
        moved = network()
        with torch.no_grad():
            moved.get_buffer("1.running_mean").add_(float(x) * step)
            moved.get_parameter("4.bias").add_(float(x))
        assert float(found.loss.sel(x=x)) == pytest.approx(loss_of(moved), rel=1e-9)


def test_the_results_say_how_products_with_the_hessian_were_taken() -> None:
    quadratic = Quadratic()
    batches, loss, found = [(quadratic.inputs, quadratic.targets)], quadratic.loss, []
    for each in (loss, lambda outputs, targets: loss(Once.apply(outputs), targets)):
        model = Offset(torch.from_numpy(quadratic.theta))
        found.append(loss_surface(model, batches, each, x=(-1, 1, 3), directions=Hessian(), metrics=["hessian"]))
    exact, differences = found
    assert exact.attrs["hessian_products"] == "exact"
    assert "hessian_step" not in exact.attrs
    assert differences.attrs["hessian_products"] == "finite differences"
    assert 0 < differences.attrs["hessian_error"] < 1e-8
    assert differences.attrs["hessian_step"] > 0
    np.testing.assert_allclose(differences.hessian_max, exact.hessian_max, rtol=1e-4)
    np.testing.assert_allclose(differences.loss, exact.loss, rtol=1e-6)
    line = loss_surface(Offset(torch.ones(6).double()), batches, loss, x=(-1, 1, 3), directions=Gradient())
    assert "hessian_products" not in line.attrs


def test_directions_that_are_not_kept_give_bitwise_the_same_surface() -> None:
    model, before = network(), {name: tensor.clone() for name, tensor in network().state_dict().items()}
    kept, drawn = (
        loss_surface(model, in_batches(*data()), x=X, y=X, directions=Random(keep=keep), metrics=["gradient"])
        for keep in (True, False)
    )
    for name in ("loss", "loss_stderr", "error", "grad_norm"):
        np.testing.assert_array_equal(drawn[name], kept[name])
    assert [drawn.attrs[name] for name in ("x_norm", "cosine")] == [kept.attrs[name] for name in ("x_norm", "cosine")]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(RequestError, match=r"keep = false: .*normalize = weight"):
        loss_surface(model, in_batches(*data()), directions=Random(keep=False, normalize="weight"))


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_a_wrapped_network_has_the_surface_of_the_network_within(wrap: Callable[[nn.Module], nn.Module]) -> None:
    """In the same random directions, which are drawn by the names of the parameters."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    batches = [(torch.randn(8, 4), torch.arange(8) % 3)]
    plain = loss_surface(model, batches, x=(-1, 1, 3))
    np.testing.assert_array_equal(loss_surface(wrap(model), batches, x=(-1, 1, 3)).loss, plain.loss)
