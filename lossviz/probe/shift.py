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
    """How far the gradient of layer i turns and stretches when all that is called before it takes its step.

    G_i = grad_{W_i} L(W_1, ..., W_k), G'_i = grad_{W_i} L(W_1', ..., W_{i-1}', W_i, ..., W_k), on the same
    minibatch with the same noise; W' is the point after the optimiser's actual step. W_i are all parameters of
    the layer, its normalisation included. One forward-backward pass a layer.

    The caller puts the parameters back.

    Args:
        objective: at the point before the step, in training mode.
        batch: the minibatch of the step.
        layers: the layers i, each with trainable parameters.
        gradient: of the loss at the point before the step, in the objective's order of parameters.
        updated: the parameters after the step, in the same order.

    Returns:
        float64 tensors shift_l2 = |G_i - G'_i| and shift_cosine = <G_i, G'_i> / (|G_i| |G'_i|), (layers,).

    Source:
        Santurkar et al. 2018, definition 2.1.
    """
    names = [name for name, parameter in objective.model.named_parameters() if parameter.requires_grad]
    place = {name: i for i, name in enumerate(names)}
    found = []
    for layer in layers:
        own = [place[name] for name in layer.parameters]
        earlier = [place[name] for name in layer.earlier]
        moved = [objective.parameters[i] for i in earlier]
        origin = [parameter.detach().clone() for parameter in moved]
        move(moved, [updated[i] for i in earlier])
        after = objective.differentiate(batch, [objective.parameters[i] for i in own]).gradient
        move(moved, origin)
        before = [gradient[i] for i in own]
        distance = squared_norm(torch._foreach_sub(after, before)).sqrt()
        cosine = dot(before, after) / (squared_norm(before) * squared_norm(after)).sqrt()
        found.append(torch.stack([distance, cosine]))
    l2, cosines = torch.stack(found).unbind(dim=1)
    return {"shift_l2": l2, "shift_cosine": cosines}
