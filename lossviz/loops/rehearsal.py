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
from lossviz.engine.state import snapshot, steady
from lossviz.errors import refuse
from lossviz.seeding import seeded


def rehearse_in_loop(objective: Objective, here: Minibatch, model: nn.Module) -> None:
    """Check that the loss is a function of the parameters of the network that it gets; leaves no trace.

    It may draw random numbers of torch (a diffusion model's times), as those are the same in all passes of a step.

    Args:
        objective: the loss of the copy that is measured.
        here: the minibatch of the step.
        model: the loop's own network.

    Raises:
        RequestError: it is none, or the batch is none that it takes.
    """
    check_pair(objective.loss, here.batch, "batch")
    if isinstance(objective.loss, OfModel):
        alike = Objective(objective.model, _begun_alike(objective, here.noise))
        # Of a copy: the loss may change its batch, and is refused then.
        rehearse_closure(alike, copy.deepcopy(here.batch), differentiable=True)
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with steady(objective.model):
        loss = objective.apply(here).mean
        if not loss.requires_grad:
            refuse("loss", "has no gradient", accepted="differentiable operations, without .item() or .detach()")
        found = torch.autograd.grad(loss, [*objective.parameters, *own], allow_unused=True)
    if any(part is not None for part in found[len(objective.parameters) :]):
        problem = "is computed by the loop's own network, and not by the copy of it that is measured"
        advice = "a loss(model, batch) calls its argument `model`; a network keeps no function that holds itself"
        refuse("loss", problem, advice=advice)
    if all(part is None for part in found):
        refuse("loss", "does not depend on the trainable parameters of the network")


def _begun_alike(objective: Objective, noise: int | None) -> OfModel:
    """The loss, each pass with the same random numbers and from the same state, as measurements make them."""
    assert isinstance(objective.loss, OfModel)
    function, name, restore = objective.loss.function, objective.loss.name, snapshot(objective.model)

    def loss(model: nn.Module, batch: Batch) -> object:
        restore()
        with seeded(objective.device, noise or 0):
            return function(model, batch)

    return OfModel(loss, name)
