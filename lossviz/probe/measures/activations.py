"""The distribution of what a layer hands to its non-linearity."""

import math

import torch
from torch import Tensor

from lossviz.probe.layers import layer_outputs
from lossviz.probe.measure import Coordinate, Measure, Step, Variable

BINS = 64


def activations(step: Step) -> dict[str, Tensor]:
    """Mean, variance and histogram of every layer's output over batch and space (or tokens); see `layer_outputs`.

    Source:
        Santurkar et al. 2018, appendix A.2.1 and figures 2 and 8.
    """
    unheard = describe(torch.full((1,), math.nan, device=step.objective.device))
    rows = [row or unheard for row in layer_outputs(step, describe)]
    return {name: torch.stack([row[name] for row in rows]) for name in MEASURE.variables}


def describe(values: Tensor) -> dict[str, Tensor]:
    """Mean, biased variance, and a histogram of 64 equal bins from the smallest to the largest finite value."""
    flat = values.double().flatten()
    finite = flat[flat.isfinite()]
    low, high = (finite.min(), finite.max()) if len(finite) else (flat.new_zeros(()), flat.new_zeros(()))
    width = torch.where(high > low, high - low, torch.ones_like(high))
    edges = low + width * torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=flat.device)
    place = ((finite - low) / width * BINS).long().clamp_(0, BINS - 1)
    counts = torch.bincount(place, minlength=BINS).double()
    return dict(zip(MEASURE.variables, (flat.mean(), flat.var(unbiased=False), counts, edges), strict=True))


MEASURE = Measure(
    {
        "activation_mean": Variable(("layer",), "mean before the non-linearity", "1"),
        "activation_variance": Variable(("layer",), "variance before the non-linearity", "1"),
        "activation_histogram": Variable(("layer", "bin"), "number of activations in a bin", "1"),
        "activation_edge": Variable(("layer", "edge"), "edges of the bins", "1"),
    },
    activations,
    lambda _: {
        "bin": Coordinate(range(BINS), "bin of a histogram"),
        "edge": Coordinate(range(BINS + 1), "edge of a bin"),
    },
    further="a forward pass",
)
