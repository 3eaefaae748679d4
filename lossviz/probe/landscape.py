"""How loss and gradient change along the gradient: the landscape of Santurkar et al. 2018, section 3.2."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import dot, move, penalty, squared_norm, undisturbed


def landscape(
    objective: Objective, batch: Minibatch, lengths: Sequence[float], weight_decay: float = 0.0
) -> dict[str, Tensor]:
    """Loss and gradient at theta - eta * g for every step length eta, on one minibatch.

    g is the gradient of the data loss at theta. All points see the same minibatch and the same noise, with
    the network in training mode; it is left bitwise as it was. One forward-backward pass a length, and one
    at theta. Values that are not finite are results and stay.

    Args:
        objective: the loss as a function of the network's parameters.
        batch: the minibatch.
        lengths: the eta, (K,).
        weight_decay: of the penalties.

    Returns:
        float64 tensors: loss, grad_norm, penalty, each (); path_loss, path_penalty, grad_distance
        |g - g_k|, grad_cosine <g, g_k> / (|g| |g_k|), smoothness |g - g_k| / (eta_k |g|), each (K,).

    Source:
        Santurkar et al. 2018, section 3.2 and figure 4.
    """
    with undisturbed(objective.model) as origin:
        objective.model.train()
        base = objective.differentiate(batch)
        base_norm = squared_norm(base.gradient).sqrt()
        at_origin = {"loss": base.loss.double(), "grad_norm": base_norm, "penalty": penalty(origin, weight_decay)}
        path = []
        for length in lengths:
            move(objective.parameters, origin, (-length, base.gradient))
            there = objective.differentiate(batch)
            distance = squared_norm(torch._foreach_sub(there.gradient, base.gradient)).sqrt()
            there_norm = squared_norm(there.gradient).sqrt()
            cosine = dot(base.gradient, there.gradient) / (base_norm * there_norm)
            decay = penalty(objective.parameters, weight_decay)
            path.append(torch.stack([there.loss.double(), decay, distance, cosine, distance / (length * base_norm)]))
    names = ("path_loss", "path_penalty", "grad_distance", "grad_cosine", "smoothness")
    return {**at_origin, **dict(zip(names, torch.stack(path).unbind(dim=1), strict=True))}
