"""Internal covariate shift as the change of a layer's gradient when the layers before it are updated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, dot, move, squared_norm
from lossviz.models.layers import WeightLayer


def shift(
    objective: Objective, batch: Minibatch, layers: Sequence[WeightLayer], gradient: Vector, updated: Vector
) -> dict[str, Tensor]:
    """How far the gradient of layer i turns and stretches when layers 1 to i - 1 take their step.

    G_i = grad_{W_i} L(W_1, ..., W_k), G'_i = grad_{W_i} L(W_1', ..., W_{i-1}', W_i, ..., W_k), on the same
    minibatch with the same noise; W' is the point after the optimiser's actual step. W_i are all parameters of
    the layer, its normalisation included. One forward-backward pass a layer.

    The caller puts the parameters back.

    Args:
        objective: at the point before the step, in training mode.
        batch: the minibatch of the step.
        layers: the layers i.
        gradient: of the loss at the point before the step, in the objective's order of parameters.
        updated: the parameters after the step, in the same order.

    Returns:
        float64 tensors shift_l2 = |G_i - G'_i| and shift_cosine = <G_i, G'_i> / (|G_i| |G'_i|), (layers,).

    Source:
        Santurkar et al. 2018, definition 2.1.
    """
    place: dict[Tensor, int] = {parameter: i for i, parameter in enumerate(objective.parameters)}
    found = []
    for layer in layers:
        first = min(place[parameter] for parameter in layer.parameters)
        own = range(first, first + len(layer.parameters))
        before = [gradient[i] for i in own]
        origin = [parameter.detach().clone() for parameter in objective.parameters[:first]]
        move(objective.parameters[:first], updated[:first])
        after = objective.differentiate(batch, layer.parameters).gradient
        move(objective.parameters[:first], origin)
        distance = squared_norm(torch._foreach_sub(after, before)).sqrt()
        cosine = dot(before, after) / (squared_norm(before) * squared_norm(after)).sqrt()
        found.append(torch.stack([distance, cosine]))
    l2, cosines = torch.stack(found).unbind(dim=1)
    return {"shift_l2": l2, "shift_cosine": cosines}
