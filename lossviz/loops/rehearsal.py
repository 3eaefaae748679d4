"""Network, loss and batch of a loop, tried at the first measurement."""

import copy

import torch
from torch import nn

from lossviz.data.batch import Batch
from lossviz.data.minibatches import Minibatch
from lossviz.engine.loss import check_pair
from lossviz.engine.losses import OfModel
from lossviz.engine.objective import Objective
from lossviz.engine.rehearsal import rehearse_closure
from lossviz.engine.state import steady
from lossviz.errors import refuse
from lossviz.seeding import seeded


def rehearse_in_loop(objective: Objective, here: Minibatch) -> None:
    """Check that the loss is a function of the parameters of the network that it gets; leaves no trace.

    It may draw random numbers of torch (a diffusion model's times), as those are the same in all passes of a step.

    Raises:
        RequestError: it is none, or the batch is none that it takes.
    """
    check_pair(objective.loss, here.batch, "the batch")
    if isinstance(objective.loss, OfModel):
        alike = Objective(objective.model, _drawn_alike(objective, here.noise))
        # Of a copy: the loss may change its batch, and is refused then.
        rehearse_closure(alike, copy.deepcopy(here.batch), differentiable=True)
    with steady(objective.model):
        loss = objective.apply(here).mean
        known = loss.requires_grad and torch.autograd.grad(loss, objective.parameters, allow_unused=True)
    if not known or all(part is None for part in known):
        problem = "does not depend on the trainable parameters of the network that it is given"
        advice = "a loss(model, batch) calls its argument `model`, which is a copy of the loop's network"
        refuse("loss", problem, advice=advice)


def _drawn_alike(objective: Objective, noise: int | None) -> OfModel:
    assert isinstance(objective.loss, OfModel)
    function, name = objective.loss.function, objective.loss.name

    def loss(model: nn.Module, batch: Batch) -> object:
        with seeded(objective.device, noise or 0):
            return function(model, batch)

    return OfModel(loss, name)
