"""The directions d1 and d2 of a scan: one kind a file."""

from collections.abc import Callable, Mapping
from typing import Any

from lossviz.config.directions import Directions, File, Gradient, Hessian, Pca, Random, Toward
from lossviz.errors import refuse
from lossviz.surface.directions.file import file_directions
from lossviz.surface.directions.gradient import gradient_directions
from lossviz.surface.directions.hessian import hessian_directions
from lossviz.surface.directions.pca import pca_directions
from lossviz.surface.directions.random import random_directions
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.directions.toward import toward_directions
from lossviz.surface.subspace import Subspace

# From a section of the configuration, what may move, and where directions come from.
KINDS: Mapping[type[Directions], Callable[[Any, Subspace, Sources], DirectionSet]] = {
    Random: random_directions,
    Toward: toward_directions,
    Pca: pca_directions,
    Hessian: hessian_directions,
    Gradient: gradient_directions,
    File: file_directions,
}


def make_directions(wanted: Directions, subspace: Subspace, sources: Sources) -> DirectionSet:
    """Make the directions that `surface.directions` describes; the network is not changed.

    Args:
        wanted: the section.
        subspace: all of the network, at the scan's checkpoint.
        sources: where directions come from.

    Raises:
        RequestError: a checkpoint or file is missing or does not fit, nothing moves, or a direction is zero.
        WorkError: an eigenvalue has not converged.
    """
    free = subspace if isinstance(wanted, File) else subspace.select(wanted)
    found = KINDS[type(wanted)](wanted, free, sources)
    for axis, vector in found.vectors.items():
        # One that is not finite, through a network that diverged, has results: losses that are not.
        if subspace.norm(vector) == 0:
            problem = f"the direction of {axis} is zero in every parameter that may move"
            advice = "move others (ignore, parameters), or take another kind"
            refuse("surface.directions", problem, advice=advice)
    return found
