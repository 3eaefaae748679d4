"""The batch size at which the noise of a minibatch's gradient is as large as the gradient."""

import math
from fractions import Fraction

import torch
from torch import Tensor

from lossviz.engine.point import squared_norm
from lossviz.probe.measure import Measure, Step, Variable

MINIBATCHES = 8


def gradient_noise_scale(step: Step) -> dict[str, Tensor]:
    """B_simple = tr(S) / |G|^2, with G the mean and S the covariance of the gradients of single examples.

    From two batch sizes: b is that of the training, with the gradients g_k of the minibatch of the step and the seven
    after it, all at theta; n = 8 b is all of them together, with the gradient m = mean g_k. As E|g_k|^2 = |G|^2 +
    tr(S) / b and E|m|^2 = |G|^2 + tr(S) / n, without bias

        tr(S) = (mean |g_k|^2 - |m|^2) / (1/b - 1/n),    |G|^2 = (n |m|^2 - b mean |g_k|^2) / (n - b).

    Where batches have different sizes b_k, as in a loop of the user, b is their harmonic mean, n their sum, and m
    the mean over all examples.

    The quotient of the two is not unbiased: average each over steps before dividing. Eight gradients.

    Returns:
        float64 (): gradient_noise_scale in examples; gradient_variance tr(S); gradient_signal |G|^2, which is negative
        now and then where noise prevails.

    Source:
        McCandlish et al. 2018, arXiv 1812.06162, equation 2.9 and appendix A.1.
    """
    sizes: list[int] = []
    small, total = [], [torch.zeros_like(part, dtype=torch.float64) for part in step.theta]
    for batch in step.minibatches(MINIBATCHES):
        found = step.objective.differentiate(batch)
        sizes.append(found.losses.counting)
        small.append(squared_norm(found.gradient))
        parts = [part.double() for part in found.gradient]
        total = list(torch._foreach_add(total, parts, alpha=sizes[-1] / (sizes[0] or math.nan)))
    if not all(sizes):  # a batch of ignored examples alone has no gradient
        return dict.fromkeys(MEASURE.variables, torch.full((), math.nan, dtype=torch.float64))
    b, n = float(MINIBATCHES / sum(Fraction(1, size) for size in sizes)), sum(sizes)
    each, mean = torch.stack(small).mean(), squared_norm(total) / (n / sizes[0]) ** 2
    variance, signal = (each - mean) / (1 / b - 1 / n), (n * mean - b * each) / (n - b)
    return dict(zip(MEASURE.variables, (variance / signal, variance, signal), strict=True))


MEASURE = Measure(
    {
        "gradient_noise_scale": Variable((), "gradient noise scale tr(S) / |G|^2, in examples", "1"),
        "gradient_variance": Variable((), "tr(S), variance of the gradients of single examples", "nat^2"),
        "gradient_signal": Variable((), "|G|^2, squared norm of the mean gradient", "nat^2"),
    },
    gradient_noise_scale,
    passes=lambda _: MINIBATCHES,
)
