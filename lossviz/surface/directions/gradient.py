"""The direction of steepest descent."""

import torch
from torch import Tensor

from lossviz.config.directions import Gradient
from lossviz.engine.curvature import mean_gradient
from lossviz.surface.directions.random import random_direction
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.subspace import Subspace


def gradient_directions(wanted: Gradient, subspace: Subspace, sources: Sources) -> DirectionSet:
    """`kind: gradient`: d1 = -grad L, never rescaled, so x is a step length; d2 is random.

    L is the mean loss over the examples, each counted once, in eval mode.
    """
    vectors = {"x": descent(subspace, sources, wanted.examples)}
    if "y" in sources.axes:
        vectors["y"] = random_direction(subspace, wanted.normalize, wanted.seed, "y")
    return DirectionSet(vectors, subspace, {"x": (-sources.learning_rate, 4 * sources.learning_rate)})


def descent(subspace: Subspace, sources: Sources, examples: int | str) -> list[Tensor]:
    """-grad L over the tensors that move, zero elsewhere."""
    with sources.minibatches(examples) as batches:
        gradient = mean_gradient(sources.objective, batches, subspace.moved_parameters)
    torch._foreach_neg_(gradient)
    return subspace.spread(gradient)
