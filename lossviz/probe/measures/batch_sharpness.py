"""The curvature that a step of minibatch SGD meets: that of the minibatch's own loss, along its own gradient."""

import torch
from torch import Tensor

from lossviz.engine.curvature import Hessian
from lossviz.probe.measure import Measure, Step, Variable

MINIBATCHES = 8


def batch_sharpness(step: Step) -> dict[str, Tensor]:
    """E[g_B' H_B g_B / |g_B|^2] over minibatches B: the Rayleigh quotient of their Hessians at their gradients.

    The mean over the minibatch of the step and the seven after it, all at theta; average over steps where that is too
    noisy. Minibatch SGD without momentum trains where it is about 2 / lr, while the largest eigenvalue of the Hessian
    of the whole loss stays below. A gradient and a Hessian-vector product for each minibatch.

    Returns:
        batch_sharpness, float64 (): NaN where a gradient is zero or not finite.

    Source:
        Andreyev and Beneventano 2024, arXiv 2412.20553.
    """
    quotients = []
    for batch in step.minibatches(MINIBATCHES):
        parts = step.objective.differentiate(batch).gradient
        gradient = torch.cat([part.double().flatten() for part in parts])
        quotients.append(gradient @ Hessian(step.objective, [batch])(gradient) / gradient.dot(gradient))
    return {"batch_sharpness": torch.stack(quotients).mean()}


MEASURE = Measure(
    {"batch_sharpness": Variable((), "mean of g'Hg / |g|^2 over minibatches", "nat")},
    batch_sharpness,
    passes=lambda _: MINIBATCHES,
    further=f"{MINIBATCHES} Hessian-vector products",
)
