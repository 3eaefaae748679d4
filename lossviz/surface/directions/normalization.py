"""Filter normalisation: directions as long as the weights that they are added to, filter by filter."""

import torch
from torch import Tensor

from lossviz.config.directions import Normalize


def rescale(direction: Tensor, weights: Tensor, by: Normalize, transposed: int = 0) -> Tensor:
    """Rescale one tensor of a direction to the weights it will be added to.

    filter: d_i * |w_i| / (|d_i| + 1e-10) for every filter i, the weights of one output: an index of dimension 0 (an
    output channel, a row of a matrix), or, in a transposed convolution, of dimension 1 within a group; a tensor of one
    dimension is one filter. layer: the same for the tensor as a whole. weight: d * w, entry by entry. none: unchanged.

    Args:
        direction: a tensor.
        weights: a tensor of the same shape.
        by: filter, layer, weight or none.
        transposed: the number of groups where they are the weights of a transposed convolution, else 0.

    Source:
        Li et al. 2018, section 4 (filter); their code for layer and weight. It takes the input channels of a transposed
        convolution for its filters.

    Example:
        >>> weights, direction = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.ones(2, 2)
        >>> rescale(direction, weights, by="filter").norm(dim=1).round(decimals=6)
        tensor([5., 1.], dtype=torch.float64)
    """
    if by == "none":
        return direction
    if by == "weight":
        return direction * weights
    grouped = by == "filter" and transposed > 0
    if grouped:  # (in, out / groups, ...) as (groups, in / groups, out / groups, ...)
        direction, weights = (each.unflatten(0, (transposed, -1)) for each in (direction, weights))
    together = _without_filters(direction.dim(), grouped) if by == "filter" else None
    weights_norm: Tensor = torch.linalg.vector_norm(weights.double(), dim=together, keepdim=True)
    direction_norm: Tensor = torch.linalg.vector_norm(direction.double(), dim=together, keepdim=True)
    rescaled = direction * (weights_norm / (direction_norm + 1e-10))
    return rescaled.flatten(0, 1) if grouped else rescaled


def _without_filters(dimensions: int, grouped: bool) -> tuple[int, ...] | None:
    """The dimensions over which the norm of a filter is taken; None is all of them."""
    if dimensions <= 1:
        return None
    filters = (0, 2) if grouped else (0,)
    return tuple(dimension for dimension in range(dimensions) if dimension not in filters)
