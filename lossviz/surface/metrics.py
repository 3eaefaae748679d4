"""Metrics at a point of a scan beside the loss: the gradient's norm and the extreme curvatures."""

from collections.abc import Collection, Iterable

from lossviz.config.surface import Metric
from lossviz.data.batch import Batch
from lossviz.data.minibatches import Minibatch
from lossviz.engine.curvature import extremes, gradient_norm
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector


def point_metrics(
    objective: Objective, batches: Iterable[Batch], parameters: Vector, metrics: Collection[Metric]
) -> dict[str, float]:
    """Measure what is asked for at the network's present point, in its present mode; leaves no trace.

    In eval mode BatchNorm has its running statistics, in its gradient as in its output.

    Args:
        objective: at the point.
        batches: the examples over which the loss is the mean; gone through once.
        parameters: with respect to which: those that the directions may move.
        metrics: gradient, hessian or both. Products with the Hessian need the batches again and again: for them
            all are held in memory, and one large batch is faster than several.

    Returns:
        grad_norm, |grad L|; hessian_min and hessian_max, the smallest and the largest eigenvalue of the Hessian.
        Not finite where the loss is not; the eigenvalues are NaN where they have not converged.
    """
    examples: Iterable[Minibatch] = (Minibatch(batch, noise=i) for i, batch in enumerate(batches))
    found = {}
    if "hessian" in metrics:
        examples = list(examples)
        found["hessian_min"], found["hessian_max"] = extremes(objective, examples, parameters)
    if "gradient" in metrics:
        found["grad_norm"] = gradient_norm(objective, examples, parameters)
    return found
