"""All measures of one step on one shared gradient, leaving no trace."""

from dataclasses import replace

from torch import Tensor

from lossviz.engine.point import move, penalty, squared_norm, undisturbed
from lossviz.probe.measure import Step, Variable, load_measures

# Written at every step, whatever is measured.
BASE = {
    "loss": Variable((), "L(theta), mean loss of the minibatch", "nat"),
    "grad_norm": Variable((), "norm of the gradient g of the data loss", "nat"),
    "penalty": Variable((), "weight_decay / 2 * |theta|^2", "nat"),
}


def measure_step(step: Step) -> dict[str, Tensor]:
    """Measure what the configuration names, on one minibatch, with the network in training mode.

    Network, gradients, optimiser, mode flags and random numbers are bitwise what they were.

    Args:
        step: without theta, loss and gradient.

    Returns:
        float64 tensors by the names of the variables: those of `BASE`, and those of the measures.
    """
    objective = step.objective
    with undisturbed(objective.model) as theta:
        objective.model.train()
        base = objective.differentiate(step.batch)
        step = replace(step, theta=theta, loss=float(base.loss), gradient=base.gradient)
        found = {
            "loss": base.loss.double(),
            "grad_norm": squared_norm(base.gradient).sqrt(),
            "penalty": penalty(theta, step.weight_decay),
        }
        for measure in load_measures(step.config):
            found |= measure.compute(step)
            move(objective.parameters, theta)
    return found
