"""Internal covariate shift as the change of a layer's gradient when the layers before it are updated."""

import torch
from torch import Tensor

from lossviz.engine.point import dot, move, squared_norm
from lossviz.probe.measure import Measure, Step, Variable


def shift(step: Step) -> dict[str, Tensor]:
    """How far the gradient of layer i turns and stretches when all that is called before it takes its step.

    G_i = grad_{W_i} L(W_1, ..., W_k), G'_i = grad_{W_i} L(W_1', ..., W_{i-1}', W_i, ..., W_k), on the same
    minibatch with the same noise; W' is the point after the optimiser's actual step. W_i are all parameters of
    the layer, its normalisation included; layers without trainable ones are refused before. One forward-backward
    pass a layer.

    Returns:
        float64 tensors shift_l2 = |G_i - G'_i| and shift_cosine = <G_i, G'_i> / (|G_i| |G'_i|), (layers,).

    Source:
        Santurkar et al. 2018, definition 2.1.
    """
    objective, updated = step.objective, step.updated
    names = [name for name, parameter in objective.model.named_parameters() if parameter.requires_grad]
    place = {name: i for i, name in enumerate(names)}
    found = []
    for layer in step.layers:
        own = [place[name] for name in layer.parameters]
        earlier = [place[name] for name in layer.earlier]
        moved = [objective.parameters[i] for i in earlier]
        move(moved, [updated[i] for i in earlier])
        after = objective.differentiate(step.batch, [objective.parameters[i] for i in own]).gradient
        move(moved, [step.theta[i] for i in earlier])
        before = [step.gradient[i] for i in own]
        distance = squared_norm(torch._foreach_sub(after, before)).sqrt()
        cosine = dot(before, after) / (squared_norm(before) * squared_norm(after)).sqrt()
        found.append(torch.stack([distance, cosine]))
    return dict(zip(MEASURE.variables, torch.stack(found).unbind(dim=1), strict=True))


MEASURE = Measure(
    {
        "shift_l2": Variable(("layer",), "internal covariate shift |G - G'|", "nat"),
        "shift_cosine": Variable(("layer",), "cosine between G and G'", "1"),
    },
    shift,
    passes=lambda config: len(config.layers),
)
