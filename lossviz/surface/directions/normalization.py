"""Filter normalisation: directions as long as the weights that they are added to, filter by filter."""

import torch
from torch import Tensor

from lossviz.config.directions import Normalize


def scale(direction: Tensor, weights: Tensor, by: Normalize, transposed: int = 0) -> Tensor:
    """The factors that rescale one tensor of a direction to the weights it will be added to.

    filter: |w_i| / (|d_i| + 1e-10) for every filter i, the weights of one output: an index of dimension 0 (an
    output channel, a row of a matrix), or, in a transposed convolution, of dimension 1 within a group; a tensor of one
    dimension is one filter. layer: the same for the tensor as a whole. weight: w, entry by entry. none: 1.

    Args:
        direction: a tensor.
        weights: a tensor of the same shape.
        by: filter, layer, weight or none.
        transposed: the number of groups where they are the weights of a transposed convolution, else 0.

    Source:
        Li et al. 2018, section 4 (filter); their code for layer and weight. It takes the input channels of a transposed
        convolution for its filters.

    Returns:
        float64, of a shape that `multiply` multiplies with.
    """
    if by == "none":
        return torch.ones((), dtype=torch.float64)
    if by == "weight":
        return weights.double()
    grouped = by == "filter" and transposed > 0
    direction, weights = (_by_group(each, transposed if grouped else 0) for each in (direction, weights))
    together = _without_filters(direction.dim(), grouped) if by == "filter" else None
    weights_norm: Tensor = torch.linalg.vector_norm(weights.double(), dim=together, keepdim=True)
    direction_norm: Tensor = torch.linalg.vector_norm(direction.double(), dim=together, keepdim=True)
    return weights_norm / (direction_norm + 1e-10)


def rescale(direction: Tensor, weights: Tensor, by: Normalize, transposed: int = 0) -> Tensor:
    """One tensor of a direction, rescaled by `scale`.

    Example:
        >>> weights, direction = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.ones(2, 2)
        >>> rescale(direction, weights, by="filter").norm(dim=1).round(decimals=6)
        tensor([5., 1.], dtype=torch.float64)
    """
    rescaled = direction.to(torch.float64, copy=True)
    return multiply(rescaled, scale(direction, weights, by, transposed))


def multiply(direction: Tensor, by: Tensor) -> Tensor:
    """Multiply one tensor of a direction, contiguous and float64, by its factors, in place."""
    # The filters of a transposed convolution have a dimension more.
    (direction.unflatten(0, (len(by), -1)) if by.dim() > direction.dim() else direction).mul_(by)
    return direction


def _by_group(tensor: Tensor, groups: int) -> Tensor:
    """(in, out / groups, ...) as (groups, in / groups, out / groups, ...)."""
    return tensor.unflatten(0, (groups, -1)) if groups else tensor


def _without_filters(dimensions: int, grouped: bool) -> tuple[int, ...] | None:
    """The dimensions over which the norm of a filter is taken; None is all of them."""
    if dimensions <= 1:
        return None
    filters = (0, 2) if grouped else (0,)
    return tuple(dimension for dimension in range(dimensions) if dimension not in filters)
