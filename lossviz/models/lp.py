"""Normalisation by l_p norms instead of the standard deviation."""

import math

import torch
from torch import Tensor, nn


class LpNorm(nn.Module):
    """y = gamma * (x - mean(x)) / (s_p(x) + eps) + beta per channel, over batch and space.

    s_p(x) = (mean |x|^p)^(1/p), the average-type l_p norm of the activation before its mean is subtracted;
    s_inf(x) = max |x|. In eval mode mean and s_p are running averages (momentum 0.1), as BatchNorm's are.

    Args:
        channels: of inputs (N, channels) or (N, channels, H, W).
        p: 1, 2 or infinity.

    Source:
        Santurkar et al. 2018, section 3.3: fix the first moment as BatchNorm does, and normalise by the
        average of the l_p norm before shifting the mean. The form for p = infinity is our reading.

    Example:
        >>> LpNorm(channels=1, p=1, eps=0)(torch.tensor([[1.0], [3.0]])).flatten().tolist()  # mean 2, s_1 2
        [-0.5, 0.5]
    """

    running_mean: Tensor
    running_scale: Tensor

    def __init__(self, channels: int, p: float, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.p, self.eps, self.momentum = p, eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_scale", torch.ones(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        wide = inputs.to(self.running_mean.dtype)
        column = (1, -1, *(1,) * (inputs.dim() - 2))
        if self.training:
            mean, scale = self._statistics(wide)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_scale.lerp_(scale, self.momentum)
        else:
            mean, scale = self.running_mean, self.running_scale
        slope = self.weight / (scale + self.eps)
        return (wide * slope.view(column) + (self.bias - mean * slope).view(column)).to(inputs.dtype)

    def _statistics(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        others = [0, *range(2, inputs.dim())]
        size = inputs.abs()
        if math.isinf(self.p):
            return inputs.mean(others), size.amax(others)
        if self.p == 1:
            return inputs.mean(others), size.mean(others)
        # The root of zero, on a channel that is dead in this minibatch, has no finite derivative.
        powers = size.pow(self.p).mean(others).clamp_min(torch.finfo(inputs.dtype).tiny)
        return inputs.mean(others), powers.pow(1 / self.p)
