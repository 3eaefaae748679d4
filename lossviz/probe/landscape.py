"""How loss and gradient change along the gradient: the landscape of Santurkar et al. 2018, section 3.2."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, dot, move, penalty, squared_norm


def landscape(
    objective: Objective,
    batch: Minibatch,
    origin: Vector,
    gradient: Vector,
    lengths: Sequence[float],
    weight_decay: float = 0.0,
) -> dict[str, Tensor]:
    """Loss and gradient at theta - eta * g for every step length eta, on one minibatch.

    All points see the same minibatch and the same noise. One forward-backward pass a length. Values that are
    not finite are results and stay. The caller puts the parameters back.

    Args:
        objective: in training mode.
        batch: the minibatch.
        origin: the parameters theta.
        gradient: g, of the data loss at theta on this minibatch.
        lengths: the eta, (K,).
        weight_decay: of the penalty.

    Returns:
        float64 tensors (K,): path_loss; path_penalty; grad_distance |g - g_k|; grad_cosine
        <g, g_k> / (|g| |g_k|); smoothness |g - g_k| / (eta_k |g|).

    Source:
        Santurkar et al. 2018, section 3.2 and figure 4.
    """
    base_norm = squared_norm(gradient).sqrt()
    path = []
    for length in lengths:
        move(objective.parameters, origin, (-length, gradient))
        there = objective.differentiate(batch)
        distance = squared_norm(torch._foreach_sub(there.gradient, list(gradient))).sqrt()
        cosine = dot(gradient, there.gradient) / (base_norm * squared_norm(there.gradient).sqrt())
        decay = penalty(objective.parameters, weight_decay)
        path.append(torch.stack([there.loss.double(), decay, distance, cosine, distance / (length * base_norm)]))
    move(objective.parameters, origin)
    names = ("path_loss", "path_penalty", "grad_distance", "grad_cosine", "smoothness")
    return dict(zip(names, torch.stack(path).unbind(dim=1), strict=True))
