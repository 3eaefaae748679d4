"""Eigenvectors of the Hessian of the loss."""

from lossviz.config.directions import Hessian
from lossviz.engine.curvature import eigenpairs
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.subspace import Subspace


def hessian_directions(wanted: Hessian, subspace: Subspace, sources: Sources) -> DirectionSet:
    """`kind: hessian`: unit eigenvectors over what is moved, zero elsewhere, and their eigenvalues.

    Of the mean loss over the examples, in eval mode. Rank 1 is the largest eigenvalue, 2 the next; -1 the smallest.

    Raises:
        WorkError: an eigenvalue has not converged.
    """
    ranks = wanted.eigenvectors[: len(sources.axes)]
    with sources.minibatches(wanted.examples) as batches:
        pairs = eigenpairs(sources.objective, list(batches), ranks, subspace.moved_parameters)
    named = dict(zip(sources.axes, pairs, strict=True))
    vectors = {axis: subspace.spread(vector) for axis, (_, vector) in named.items()}
    return DirectionSet(vectors, subspace, facts={f"{axis}_eigenvalue": value for axis, (value, _) in named.items()})
