"""The optimiser of a configuration, and the part of its weight decay that belongs to the loss."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lossviz.config.train import Train


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
