"""Small networks and losses whose Hessians are written out as matrices."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from tests.closed_forms import Offset


def convolutions(activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Eval mode, float64; running statistics and affine weights as after some training."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        activation(),
        nn.Conv2d(3, 2, 2),
        nn.BatchNorm2d(2),
        activation(),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).double()
    for _ in range(3):
        model(2 * torch.randn(9, 2, 5, 5, dtype=torch.float64) + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.eval()


def images(examples: int = 13) -> Minibatch:
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(examples, 2, 5, 5, generator=draws, dtype=torch.float64)
    return Minibatch((inputs, torch.arange(examples) % 3), 0)


def cut(batch: Minibatch, *sizes: int) -> list[Minibatch]:
    parts = zip(torch.split(batch.inputs, list(sizes)), torch.split(batch.targets, list(sizes)), strict=True)
    return [Minibatch(part, noise=i) for i, part in enumerate(parts)]


def dense(model: nn.Module, batch: Minibatch, parameters: Sequence[Tensor] | None = None) -> np.ndarray:
    """Every second derivative of the mean cross-entropy, by autograd."""
    wanted = list(model.parameters()) if parameters is None else parameters
    named = [(name, each) for name, each in model.named_parameters() if any(each is one for one in wanted)]
    sizes = [each.numel() for _, each in named]

    def loss(flat: Tensor) -> Tensor:
        pieces = {name: part.view_as(each) for (name, each), part in zip(named, torch.split(flat, sizes), strict=True)}
        return functional.cross_entropy(functional_call(model, pieces, (batch.inputs,)), batch.targets)

    point = torch.cat([each.detach().flatten() for _, each in named])
    return np.asarray(hessian(loss, point))


def flat(vector: Sequence[Tensor]) -> np.ndarray:
    return np.concatenate([part.double().numpy().ravel() for part in vector])


def weights(model: nn.Module) -> list[nn.Parameter]:
    """As Li et al.: no biases, no BatchNorm."""
    return [parameter for parameter in model.parameters() if parameter.dim() > 1]


def diagonal(*entries: float, dtype: torch.dtype = torch.float64) -> tuple[Objective, list[Minibatch]]:
    """L(theta) = sum of entry_k theta_k^2 / 2."""
    curvature = torch.tensor(entries, dtype=dtype)
    model = Offset(torch.ones(len(entries), dtype=dtype))
    batch = Minibatch((torch.zeros(3, len(entries), dtype=dtype), torch.zeros(3, dtype=dtype)), 0)
    return Objective(model, lambda outputs, _: (outputs.square() @ curvature) / 2), [batch]
