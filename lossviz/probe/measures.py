"""All measures of one step on one shared base gradient, leaving no trace."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, penalty, squared_norm, undisturbed
from lossviz.models.layers import WeightLayer
from lossviz.probe.activations import listening
from lossviz.probe.landscape import landscape
from lossviz.probe.sharpness import sharpness
from lossviz.probe.shift import shift


@dataclass(frozen=True)
class Step:
    """What is measured, and on what.

    Attributes:
        objective: at the point theta before the step.
        batch: the minibatch of the step.
        config: measures, lengths and layers.
        layers: what `shift` and `activations` are measured of; with trainable parameters.
        weight_decay: of the penalty.
        preview: from a gradient to the parameters after the optimiser's step; needed for `shift`.
        subset: what `sharpness` is measured on; the minibatch unless given.
        seed: draws the channels of `activations`.
    """

    objective: Objective
    batch: Minibatch
    config: Probe
    layers: Sequence[WeightLayer] = ()
    weight_decay: float = 0.0
    preview: Callable[[Vector], Vector] | None = None
    subset: Sequence[Minibatch] = ()
    seed: int = 0


def measure(step: Step) -> dict[str, Tensor]:
    """Measure what the configuration names, on one minibatch, with the network in training mode.

    Network, gradients, optimiser, mode flags and random numbers are bitwise what they were.

    Returns:
        float64 tensors: loss, grad_norm and penalty, each (), and those of the measures.

    Raises:
        ValueError: `shift` without a preview of the optimiser's step.
    """
    objective, batch, config = step.objective, step.batch, step.config
    if "shift" in config.measures and step.preview is None:
        raise ValueError("the measure shift needs a preview of the optimiser's step")
    with undisturbed(objective.model) as origin:
        objective.model.train()
        heard_layers = step.layers if "activations" in config.measures else []
        seed = step.seed if config.channel == "drawn" else None
        with listening(objective.model, heard_layers, seed) as heard:
            base = objective.differentiate(batch)
        found = {
            "loss": base.loss.double(),
            "grad_norm": squared_norm(base.gradient).sqrt(),
            "penalty": penalty(origin, step.weight_decay),
            **heard,
        }
        if "landscape" in config.measures:
            found |= landscape(objective, batch, origin, base.gradient, config.lengths, step.weight_decay)
        if "shift" in config.measures and step.preview is not None:
            found |= shift(objective, batch, step.layers, base.gradient, step.preview(base.gradient))
        if "sharpness" in config.measures:
            found["hessian_eigenvalue"] = sharpness(objective, step.subset or [batch], config.sharpness.eigenvalues)
    return found
