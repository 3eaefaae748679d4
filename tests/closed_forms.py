"""Networks whose loss, gradient and curvature are known by formula."""

import numpy as np
import torch
from torch import Tensor, nn

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import PerExample


class Offset(nn.Module):
    """f_theta(x) = theta - x."""

    def __init__(self, theta: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(theta.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.theta - inputs


class Quadratic:
    """L(theta) = mean over i of (theta - x_i)^T H (theta - x_i) / 2, so grad L = H (theta - mean x).

    Eigenvalues of H run from 0.5 to 8.
    """

    def __init__(self, size: int = 6, examples: int = 11) -> None:
        draws = np.random.default_rng(0)
        rotation, _ = np.linalg.qr(draws.normal(size=(size, size)))
        self.eigenvalues = np.linspace(0.5, 8.0, size)
        self.hessian = rotation @ np.diag(self.eigenvalues) @ rotation.T
        self.theta = draws.normal(size=size)
        self.data = draws.normal(size=(examples, size))
        self.inputs, self.targets = torch.from_numpy(self.data), torch.zeros(examples, dtype=torch.float64)
        hessian = torch.from_numpy(self.hessian)
        model = Offset(torch.from_numpy(self.theta))
        self.loss: PerExample = lambda outputs, _: ((outputs @ hessian) * outputs).sum(dim=1) / 2
        self.objective = Objective(model, self.loss)

    @property
    def batch(self) -> Minibatch:
        return Minibatch((self.inputs, self.targets), noise=0)

    def losses(self, theta: np.ndarray) -> np.ndarray:
        """Loss of every example."""
        away = theta - self.data
        return np.asarray(np.einsum("ni,ij,nj->n", away, self.hessian, away) / 2)

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        return np.asarray(self.hessian @ (theta - self.data.mean(axis=0)))


class TwoLayers:
    """L = mean over i of |W2 W1 x_i - t_i|^2 / 2 with its gradient written out by hand."""

    def __init__(self) -> None:
        draws = np.random.default_rng(1)
        self.weights = [draws.normal(size=(4, 3)), draws.normal(size=(2, 4))]
        self.x, self.t = draws.normal(size=(9, 3)), draws.normal(size=(9, 2))
        layers = [nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)]
        self.model = nn.Sequential(*layers).double()
        with torch.no_grad():
            for layer, weight in zip(layers, self.weights, strict=True):
                layer.weight.copy_(torch.from_numpy(weight))
        self.per_example: PerExample = lambda outputs, targets: (outputs - targets).square().sum(dim=1) / 2
        self.objective = Objective(self.model, self.per_example)
        self.batch = Minibatch((torch.from_numpy(self.x), torch.from_numpy(self.t)), noise=0)

    def loss(self, first: np.ndarray, second: np.ndarray) -> float:
        residual = self.x @ first.T @ second.T - self.t
        return float((residual**2).sum(axis=1).mean() / 2)

    def gradient(self, first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
        residual = (self.x @ first.T @ second.T - self.t) / len(self.x)
        return [second.T @ residual.T @ self.x, residual.T @ (self.x @ first.T)]


class Once(torch.autograd.Function):
    """Identity whose backward pass has no derivative."""

    @staticmethod
    def forward(_: object, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_: object, gradient: Tensor) -> Tensor:
        return gradient.clone()


class Parabola(nn.Module):
    """f(x) = w x^2 with w = 3."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x**2


def slope_residual(model: nn.Module, batch: Tensor) -> Tensor:
    """(f'(x) - 2 x)^2, for a parabola 4 (w - 1)^2 x^2: a loss that differentiates by its inputs."""
    x = batch.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (slope - 2 * x).square()
