"""l_p normalisation against its formula, one element at a time."""

import math

import numpy as np
import pytest
import torch

from lossviz.models.lp import LpNorm


def reference(x: np.ndarray, p: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(y, mean, s_p) per channel: subtract the mean, divide by the norm of what was there before."""
    y, means, scales = np.empty_like(x), [], []
    for c in range(x.shape[1]):
        values = x[:, c].ravel()
        mean = sum(values) / len(values)
        scale = max(abs(values)) if math.isinf(p) else (sum(abs(v) ** p for v in values) / len(values)) ** (1 / p)
        y[:, c] = (x[:, c] - mean) / (scale + 1e-5)
        means.append(mean)
        scales.append(scale)
    return y, np.array(means), np.array(scales)


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 2, 5)])
def test_formula(p: float, shape: tuple[int, ...]) -> None:
    layer = LpNorm(3, p).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, -0.5]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, 3.0]))
    x = np.random.default_rng(0).normal(1.0, 2.0, size=shape)
    y, mean, scale = reference(x, p)
    column = (1, 3, *(1,) * (len(shape) - 2))
    expected = y * np.array([1.0, 2.0, -0.5]).reshape(column) + np.array([0.0, 1.0, 3.0]).reshape(column)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer.running_mean, 0.1 * mean, rtol=1e-10)
    np.testing.assert_allclose(layer.running_scale, 0.9 + 0.1 * scale, rtol=1e-10)
    layer.eval()
    fixed = (x - (0.1 * mean).reshape(column)) / (0.9 + 0.1 * scale + 1e-5).reshape(column)
    expected = fixed * np.array([1.0, 2.0, -0.5]).reshape(column) + np.array([0.0, 1.0, 3.0]).reshape(column)
    np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_gradient(p: float) -> None:
    layer = LpNorm(2, p).double()
    x = torch.randn(5, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_a_dead_channel_has_a_finite_gradient(p: float) -> None:
    x = torch.zeros(4, 2, requires_grad=True)
    LpNorm(2, p)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_statistics_of_bfloat16_are_taken_in_float32(p: float) -> None:
    """As BatchNorm's: of the short numbers, without further rounding; the outputs are short again."""
    x = (torch.randn(4, 3, 5, 5) + 3).bfloat16()
    layer = LpNorm(3, p)
    outputs = layer(x)
    y, mean, scale = reference(x.double().numpy(), p)
    assert outputs.dtype == torch.bfloat16
    np.testing.assert_allclose(outputs.detach().double(), y, rtol=2**-8, atol=1e-6)
    np.testing.assert_allclose(layer.running_mean, 0.1 * mean, rtol=1e-6)
    np.testing.assert_allclose(layer.running_scale, 0.9 + 0.1 * scale, rtol=1e-6)
