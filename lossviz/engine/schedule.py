"""The learning rate and the optimiser: pure functions of the configuration and the step."""

import math
from bisect import bisect_right
from collections.abc import Iterable

import torch
from torch import Tensor

from lossviz.config.train import Cosine, Step, Train


def learning_rate(config: Train, step: int) -> float:
    """lr(t): the schedule's, times (t + 1) / warmup during the warm-up."""
    rate = config.lr
    if isinstance(config.schedule, Step):
        rate *= config.schedule.gamma ** bisect_right(config.schedule.milestones, step)
    elif isinstance(config.schedule, Cosine):
        rate *= (1 + math.cos(math.pi * step / config.steps)) / 2
    return rate * min(1.0, (step + 1) / config.warmup) if config.warmup else rate


def make_optimizer(config: Train, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimiser, torch's own; its learning rate is set before every step."""
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, config.lr, momentum=config.momentum, nesterov=config.nesterov, weight_decay=decay
        )
    family = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return family(parameters, config.lr, betas=config.betas, weight_decay=decay)


def penalty_decay(config: Train) -> float:
    """The weight decay that is the gradient of a penalty: AdamW's is not, it acts apart from the loss."""
    return 0.0 if config.optimizer == "adamw" else config.weight_decay
