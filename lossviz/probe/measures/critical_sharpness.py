"""How far the optimiser's step may go before the loss is higher than where it started."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lossviz.engine.point import dot, move
from lossviz.probe.measure import Measure, Step, Variable


def critical_sharpness(step: Step) -> dict[str, Tensor]:
    """2 / eta_c with eta_c = inf {eta > 0: L(theta - eta D) > L(theta)}, on the minibatch of the step.

    D is the optimiser's step divided by its learning rate; for plain SGD it is g. So a step lowers the loss of its
    minibatch while 2 / eta_c is below 2 / lr, whatever the optimiser. On a quadratic it is D'HD / <g, D>, exactly.
    Infinite where D does not descend, 0 where the loss does not rise within 2^30 lr, NaN where lr is 0.

    Source:
        Kalra et al. 2026, arXiv 2601.16979.
    """
    direction = torch._foreach_div(torch._foreach_sub(list(step.theta), list(step.updated)), step.rate)

    def rise(eta: float) -> tuple[float, float]:
        move(step.objective.parameters, step.theta, (-eta, direction))
        return eta, (float(step.objective.apply(step.batch).mean.detach()) - step.loss) / eta

    slope = float(dot(step.gradient, direction))
    value = math.inf if slope <= 0 else math.nan
    if slope > 0:
        value = 2 / crossing(rise, step.rate)
    return {"critical_sharpness": torch.tensor(value, dtype=torch.float64)}


def crossing(rise: Callable[[float], tuple[float, float]], start: float) -> float:
    """Where y > 0 begins, with (eta, y) = rise(eta): within 1/64 of itself, and exactly where y is a line.

    By 30 factors of two (a crossing back between two is missed), 6 bisections, interpolation. NaN counts as risen.
    """
    near = rise(start)
    factor = 2.0 if near[1] <= 0 else 0.5
    for _ in range(30):
        far, near = near, rise(factor * near[0])
        if (far[1] <= 0) != (near[1] <= 0):
            break
    else:
        return math.inf if factor > 1 else near[0]
    low, high = sorted((near, far))
    for _ in range(6):
        middle = rise((low[0] + high[0]) / 2)
        low, high = (middle, high) if middle[1] <= 0 else (low, middle)
    return low[0] + (high[0] - low[0]) * (low[1] / (low[1] - high[1]) if math.isfinite(high[1]) else 0.5)


MEASURE = Measure(
    {"critical_sharpness": Variable((), "critical sharpness 2 / eta_c along the optimiser's step", "nat")},
    critical_sharpness,
    further="about ten forward passes",
)
