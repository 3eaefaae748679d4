"""BatchNorms as people write them, each odd in one way."""

import torch
from torch import Tensor, nn


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    mean = values.mean((0, 2, 3), keepdim=True)
    return mean, (values - mean).square().mean((0, 2, 3), keepdim=True)


class Reassigned(nn.Module):
    """A BatchNorm whose buffers are new tensors after every step, as in many tutorials."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        shape = (1, channels, 1, 1)
        self.gamma, self.beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def forward(self, values: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = _moments(values)
            self.running_mean = 0.7 * self.running_mean + 0.3 * mean.detach()
            self.running_var = 0.7 * self.running_var + 0.3 * var.detach()
        return self.gamma * (values - mean) / (var + 1e-5).sqrt() + self.beta


class PlainTensors(nn.Module):
    """A BatchNorm from scratch as d2l.ai has it: moving averages in plain attributes, and no_grad means prediction."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        shape = (1, channels, 1, 1)
        self.gamma, self.beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.moving_mean, self.moving_var = torch.zeros(shape), torch.ones(shape)

    def forward(self, values: Tensor) -> Tensor:
        mean, var = self.moving_mean, self.moving_var
        if torch.is_grad_enabled():
            mean, var = _moments(values)
            self.moving_mean = 0.7 * self.moving_mean + 0.3 * mean.detach()
            self.moving_var = 0.7 * self.moving_var + 0.3 * var.detach()
        return self.gamma * (values - mean) / (var + 1e-5).sqrt() + self.beta


class StateInDict(PlainTensors):
    """The same with a dict and a list, changed in place, and a counter; by the mode of the module."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.seen = 0
        self.state = {"mean": [torch.zeros(1, channels, 1, 1)], "var": [torch.ones(1, channels, 1, 1)]}

    def forward(self, values: Tensor) -> Tensor:
        mean, var = self.state["mean"][0], self.state["var"][0]
        if self.training:
            self.seen += 1
            new_mean, new_var = _moments(values)
            mean.lerp_(new_mean.detach().to(mean.dtype), 1 / self.seen)
            var.lerp_(new_var.detach().to(var.dtype), 1 / self.seen)
            mean, var = new_mean, new_var
        return self.gamma * (values - mean) / (var + 1e-5).sqrt() + self.beta
