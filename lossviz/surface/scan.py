"""The loss at the points of a line or plane through a network."""

import time
from collections.abc import Callable, Generator, Iterable, Mapping

from torch import Tensor

from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, move, undisturbed
from lossviz.surface.grid import Grid, Index


def scan(
    objective: Objective,
    directions: Mapping[str, Vector],
    grid: Grid,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
) -> Generator[Index, None, None]:
    """Evaluate L(theta + x * d_x + y * d_y) at every point of a grid that is still to do.

    theta are the network's present parameters. Every point is set from theta itself, nothing accumulates;
    BatchNorm keeps its running statistics. The network is left bitwise as it was, also when the caller stops
    in the middle.

    Args:
        objective: the loss as a function of the network's parameters.
        directions: by axis, `x` and perhaps `y`.
        grid: takes up the results.
        batches: gives, anew for every point, the inputs and targets over which the loss is the mean.

    Yields:
        The index of every point, once it is in the grid.
    """
    with undisturbed(objective.model) as theta:
        for index, where in grid.todo():
            started = time.perf_counter()
            move(objective.parameters, theta, *((where[axis], vector) for axis, vector in directions.items()))
            found = objective.evaluate(batches())
            grid.put(index, found.loss, found.loss_stderr, found.error, time.perf_counter() - started)
            yield index
