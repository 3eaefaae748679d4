"""Directions in parameter space, and the norms they are given."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lossviz.config.surface import Directions
from lossviz.engine.point import Vector
from lossviz.models.lp import LpNorm
from lossviz.seeding import generator

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, LpNorm)


def trainable(model: nn.Module) -> Iterator[tuple[str, Tensor, str]]:
    """Name, tensor and kind (weight, bias or norm) of every trainable parameter, in the network's order."""
    seen = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                kind = "norm" if isinstance(module, NORMS) else "bias" if name == "bias" else "weight"
                yield f"{prefix}.{name}" if prefix else name, parameter, kind


def random_direction(model: nn.Module, config: Directions, axis: str) -> list[Tensor]:
    """A Gaussian direction, one tensor a parameter, normalised to the network's present weights.

    Each tensor's draw depends on (seed, axis, name) alone, so networks that share a layer share its part of
    the direction. Ignored kinds stay zero. The directions of two axes are independent, not orthogonalised.
    """
    direction = []
    for name, parameter, kind in trainable(model):
        if kind in config.ignore:
            direction.append(torch.zeros_like(parameter))
            continue
        draws = generator(config.seed, "direction", axis, name)
        gaussian = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
        scaled = normalise(gaussian, parameter.detach().cpu(), config.normalize)
        direction.append(torch.empty_like(parameter).copy_(scaled))
    return direction


def normalise(direction: Tensor, weights: Tensor, by: str) -> Tensor:
    """Rescale one tensor of a direction to the norms of the weights it will be added to.

    filter: d_i * |w_i| / (|d_i| + 1e-10) for every index i of dimension 0 (an output channel, or a row of a
    matrix), norms over all other dimensions; a tensor of one dimension is one filter. layer: the same for the
    tensor as a whole. none: unchanged.

    Args:
        direction: a tensor.
        weights: a tensor of the same shape.
        by: filter, layer or none.

    Source:
        Li et al. 2018, section 4.
    """
    if by == "none":
        return direction
    together = tuple(range(1, direction.dim())) if by == "filter" and direction.dim() > 1 else None
    weights_norm: Tensor = torch.linalg.vector_norm(weights.double(), dim=together, keepdim=True)
    direction_norm: Tensor = torch.linalg.vector_norm(direction.double(), dim=together, keepdim=True)
    return direction * (weights_norm / (direction_norm + 1e-10))


def named(model: nn.Module, **axes: Vector) -> dict[str, Tensor]:
    """Directions under the names they have on disk: x/<parameter>, y/<parameter>."""
    names = [name for name, _, _ in trainable(model)]
    return {f"{axis}/{name}": part for axis, vector in axes.items() for name, part in zip(names, vector, strict=True)}
