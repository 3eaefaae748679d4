"""How loss and gradient change along the gradient: the landscape of Santurkar et al. 2018, section 3.2."""

import torch
from torch import Tensor

from lossviz.engine.point import dot, move, penalty, squared_norm
from lossviz.probe.measure import Coordinate, Measure, Step, Variable


def landscape(step: Step) -> dict[str, Tensor]:
    """Loss and gradient at theta - eta_k * g for every step length eta_k, on the minibatch of the step.

    All points see the same minibatch and the same noise. One forward-backward pass a length. Values that are
    not finite are results and stay.

    Returns:
        float64 tensors (K,): path_loss L(theta - eta_k g); path_penalty; grad_distance |g - g_k| with g_k the gradient
        there; grad_cosine <g, g_k> / (|g| |g_k|); smoothness.

    Source:
        Santurkar et al. 2018, section 3.2 and figure 4.
    """
    parameters, norm = step.objective.parameters, squared_norm(step.gradient).sqrt()
    path = []
    for length in step.config.lengths:
        move(parameters, step.theta, (-length, step.gradient))
        there = step.objective.differentiate(step.batch)
        distance = squared_norm(torch._foreach_sub(there.gradient, list(step.gradient))).sqrt()
        cosine = dot(step.gradient, there.gradient) / (norm * squared_norm(there.gradient).sqrt())
        decay = penalty(parameters, step.weight_decay)
        path.append(torch.stack([there.loss.double(), decay, distance, cosine, smoothness(distance, length, norm)]))
    return dict(zip(MEASURE.variables, torch.stack(path).unbind(dim=1), strict=True))


def smoothness(distance: Tensor, length: float, norm: Tensor) -> Tensor:
    """Effective beta-smoothness |g - g_k| / (eta_k |g|): how fast the gradient changes over the distance travelled.

    The figure draws the largest over all lengths. NaN where the gradient is zero.

    Example:
        >>> smoothness(distance=torch.tensor(2.0), length=0.5, norm=torch.tensor(4.0)).item()
        1.0
    """
    return distance / (length * norm)


MEASURE = Measure(
    {
        "path_loss": Variable(("length",), "L(theta - eta * g)", "nat"),
        "path_penalty": Variable(("length",), "weight_decay / 2 * |theta - eta * g|^2", "nat"),
        "grad_distance": Variable(("length",), "|grad L(theta) - grad L(theta - eta * g)|", "nat"),
        "grad_cosine": Variable(("length",), "cosine between grad L(theta) and grad L(theta - eta * g)", "1"),
        "smoothness": Variable(("length",), "effective beta-smoothness, grad_distance / (eta * |g|)", "nat"),
    },
    landscape,
    lambda config: {"length": Coordinate(config.lengths, "step length eta along -g", "1/nat")},
    passes=lambda config: len(config.lengths),
)
