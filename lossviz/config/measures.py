"""The table of measures that `probe.measures` may name; known without torch.

What a measure computes and writes is in the file of its name in lossviz/probe/measures/, as its `MEASURE`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A measure as the configuration knows it.

    Attributes:
        meaning: what it measures, for the documentation of `probe.measures`.
        layers: whether it measures weight layers, which `probe.layers` names.
        later: whether it needs the minibatches of later steps.
        optimizer: whether it needs the optimiser's step, and so momentum and moments, which checkpoints do not hold.
        eager: whether it needs what compiled networks hide: their layers' outputs, or second derivatives.
    """

    meaning: str
    layers: bool = False
    later: bool = False
    optimizer: bool = False
    eager: bool = False


MEASURES = {
    "landscape": Entry("loss and gradient at theta - eta * g for every length eta"),
    "shift": Entry(
        "how a layer's gradient changes when the layers before it take their step", layers=True, optimizer=True
    ),
    "activations": Entry("distribution of a layer's output before the non-linearity", layers=True, eager=True),
    "sharpness": Entry("largest eigenvalues of the Hessian", eager=True),
    "critical-sharpness": Entry(
        "2 / eta_c, with eta_c the length at which the loss rises along the step", optimizer=True
    ),
    "batch-sharpness": Entry("curvature of minibatches' losses along their gradients", later=True, eager=True),
    "gradient-noise-scale": Entry("batch size at which noise is as large as the gradient", later=True),
}
