"""All measures of one step on one shared gradient, leaving no trace."""

from dataclasses import replace

import torch
from torch import Tensor

from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import move, penalty, squared_norm, undisturbed
from lossviz.engine.state import snapshot
from lossviz.engine.terms import Losses
from lossviz.probe.measure import Step, Variable, load_measures

# Written at every step, whatever is measured.
BASE = {
    "loss": Variable((), "L(theta), mean loss of the minibatch", "nat"),
    "grad_norm": Variable((), "norm of the gradient g of the data loss", "nat"),
    "penalty": Variable((), "weight_decay / 2 * |theta|^2", "nat"),
}


def measure_step(step: Step) -> dict[str, Tensor]:
    """Measure what the configuration names, on one minibatch, with the network in the mode that it is in: of training.

    Network, gradients, optimiser, mode flags and random numbers are bitwise what they were.

    Args:
        step: without theta, loss and gradient.

    Returns:
        float64 tensors by the names of the variables: those of `BASE`, and those of the measures.
    """
    with undisturbed(step.objective.model) as theta:
        objective = Anchored(step.objective) if step.anchored else step.objective
        base = objective.differentiate(step.batch)
        step = replace(step, objective=objective, theta=theta, loss=float(base.loss), gradient=base.gradient)
        found = {
            "loss": base.loss.double(),
            "grad_norm": squared_norm(base.gradient).sqrt(),
            "penalty": penalty(theta, step.weight_decay),
        }
        for measure in load_measures(step.config):
            found |= measure.compute(step)
            move(objective.parameters, theta)
    return found


class Anchored(Objective):
    """An objective whose network begins every pass from the state in which it is now: buffers and attributes.

    A network that reads what its own passes write (the vectors of spectral normalisation, a counter) is another
    function at every pass. Its smoothness over a step of 1e-6 was 489 instead of 1.8.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective.model, objective.loss, objective.autocast)
        self._restore = snapshot(objective.model)

    def apply(self, batch: Minibatch) -> Losses:
        """The losses of a minibatch, ready to be differentiated."""
        self._restore()
        return super().apply(batch)


def repeats_itself(objective: Objective, batch: Minibatch) -> bool:
    """Whether a second pass gives bitwise the same outputs or losses, so that there is nothing to anchor."""
    with undisturbed(objective.model):
        first, second = (objective.apply(batch).seen.detach() for _ in range(2))
    return torch.equal(first, second)
