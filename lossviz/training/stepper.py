"""The optimiser's step, taken or previewed."""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lossviz.config.schedule import learning_rate
from lossviz.config.train import Train
from lossviz.engine.point import Vector


class Stepper:
    """Updates parameters by the configured optimiser and schedule.

    Args:
        config: optimiser, learning rate, schedule.
        parameters: the network's, updated in place.

    Attributes:
        errors: the errors of the evaluations so far, for the schedule `plateau`.
    """

    def __init__(self, config: Train, parameters: Sequence[Tensor]) -> None:
        self.config = config
        self.parameters = list(parameters)
        self.optimizer = make_optimizer(config, self.parameters)
        self.errors: Sequence[float] = ()

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.config, step, self.errors)

    def take(self, gradient: Vector, step: int) -> None:
        """Update the parameters along a gradient, with the learning rate of a step."""
        for parameter, part in zip(self.parameters, gradient, strict=True):
            parameter.grad = part
        rate = self.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def preview(self, gradient: Vector, step: int) -> list[Tensor]:
        """Where `take` would lead; parameters, their `.grad` and the optimiser's state stay as they are."""
        origin = [parameter.detach().clone() for parameter in self.parameters]
        grads = [parameter.grad for parameter in self.parameters]
        state = copy.deepcopy(self.optimizer.state_dict())
        self.take(gradient, step)
        updated = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer.load_state_dict(state)
        for parameter, value, grad in zip(self.parameters, origin, grads, strict=True):
            parameter.copy_(value)
            parameter.grad = grad
        return updated


def make_optimizer(config: Train, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimiser, torch's own; its learning rate is set before every step."""
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, config.lr, momentum=config.momentum, nesterov=config.nesterov, weight_decay=decay
        )
    family = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return family(parameters, config.lr, betas=config.betas, weight_decay=decay)
