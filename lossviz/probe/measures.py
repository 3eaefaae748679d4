"""All measures of one step on one shared base gradient, leaving no trace."""

from collections.abc import Callable, Sequence

from torch import Tensor

from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, penalty, squared_norm, undisturbed
from lossviz.models.layers import pick
from lossviz.probe.activations import listening
from lossviz.probe.landscape import landscape
from lossviz.probe.sharpness import sharpness
from lossviz.probe.shift import shift


def measure(
    objective: Objective,
    batch: Minibatch,
    config: Probe,
    weight_decay: float = 0.0,
    preview: Callable[[Vector], Vector] | None = None,
    subset: Sequence[Minibatch] = (),
    *,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Measure what the configuration names, on one minibatch, with the network in training mode.

    Network, gradients, optimiser, mode flags and random numbers are bitwise what they were.

    Args:
        objective: at the point theta of the step.
        batch: the minibatch of the step.
        config: measures, lengths and layers.
        weight_decay: of the penalty.
        preview: from a gradient to the parameters after the optimiser's step; needed for `shift`.
        subset: what `sharpness` is measured on; the minibatch unless given.
        seed: draws the channels of `activations`.

    Returns:
        float64 tensors: loss, grad_norm and penalty, each (), and those of the measures.
    """
    layers = pick(objective.model, config.layers) if {"shift", "activations"} & set(config.measures) else []
    with undisturbed(objective.model) as origin:
        objective.model.train()
        heard_layers = layers if "activations" in config.measures else []
        with listening(heard_layers, seed if config.channel == "drawn" else None) as heard:
            base = objective.differentiate(batch)
        found = {
            "loss": base.loss.double(),
            "grad_norm": squared_norm(base.gradient).sqrt(),
            "penalty": penalty(origin, weight_decay),
            **heard,
        }
        if "landscape" in config.measures:
            found |= landscape(objective, batch, origin, base.gradient, config.lengths, weight_decay)
        if "shift" in config.measures and preview is not None:
            found |= shift(objective, batch, layers, base.gradient, preview(base.gradient))
        if "sharpness" in config.measures:
            found["hessian_eigenvalue"] = sharpness(objective, subset or [batch], config.sharpness.eigenvalues)
    return found
