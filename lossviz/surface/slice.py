"""The loss on a line or plane through a network, point by point."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from lossviz.config.surface import Metric
from lossviz.engine.evaluation import Batches, Evaluation, evaluate
from lossviz.engine.memory import is_out_of_memory
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, dot, move, squared_norm
from lossviz.models.duplicate import duplicate
from lossviz.surface.batch_norm import Mode
from lossviz.surface.metrics import point_metrics
from lossviz.surface.moving import Coordinate, parameters_of
from lossviz.surface.pace import Forward

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """What is measured at every point.

    Attributes:
        splits: batches by prefix of the quantities' names: "" or "test_".
        metrics: gradient, hessian or neither, over the first split.
        parameters: those that metrics are about.
        weight_decay: lambda of the penalty lambda / 2 * |theta|^2.
    """

    splits: Mapping[str, Batches]
    metrics: Sequence[Metric] = ()
    parameters: Sequence[Tensor] = ()
    weight_decay: float = 0.0


def quantities(prefixes: Iterable[str], metrics: Sequence[str]) -> list[str]:
    """Names of what a point gives, in the order of result files."""
    losses = [f"{prefix}{name}" for prefix in prefixes for name in ("loss", "loss_stderr", "error")]
    further = {"gradient": ["grad_norm"], "hessian": ["hessian_max", "hessian_min"]}
    return [*losses, "penalty", *(name for metric in metrics for name in further[metric])]


class Plainly(NamedTuple):
    """A loss by the plain path, in which precision, and how large the outputs are that it was computed from.

    Attributes:
        evaluation: the loss.
        precision: float64, or "its own precision".
        outputs: max_k |f_k(x)|, mean over the examples x.
    """

    evaluation: Evaluation
    precision: str
    outputs: float


@dataclass(frozen=True)
class Slice:
    """(x, y) -> L(theta + x * d_x + y * d_y) and what else is measured there.

    Every point is set from theta itself, nothing accumulates.

    Attributes:
        objective: the loss; its network is moved.
        coordinates: the tensors that move.
        origin: theta, the coordinates' values at the centre.
        directions: by axis, `x` and perhaps `y`; one tensor a coordinate.
        mode: BatchNorm at a moved point.
        forward: how networks are evaluated.
        what: the quantities.
    """

    objective: Objective
    coordinates: Sequence[Coordinate]
    origin: Vector
    directions: Mapping[str, Vector]
    mode: Mode
    forward: Forward
    what: Measured

    @cached_property
    def _penalty(self) -> Callable[[Mapping[str, float]], float]:
        theta = parameters_of(self.coordinates, self.origin)
        vectors = {axis: parameters_of(self.coordinates, vector) for axis, vector in self.directions.items()}
        return _penalty(theta, vectors, self.what.weight_decay)

    def at(self, where: Mapping[str, float]) -> dict[str, float]:
        """The quantities of a point, and the seconds it took."""
        return self._in_memory(lambda: self._at(where))

    def loss_at(self, where: Mapping[str, float]) -> float:
        """The first split's loss at a point, and nothing else."""
        return self._in_memory(lambda: self._loss_at(where))

    def here(self) -> Plainly:
        """The first split's loss at whatever point the network is, by the plain path.

        In float64, but for a network that insists on a precision of its own.

        Not in float32: on ResNet-56 without shortcuts (the official checkpoint) unfolded BatchNorm in float32 is
        2.3e-5 from that, and folded 2.2e-7.
        """
        return self._in_memory(self._here)

    def _move(self, where: Mapping[str, float]) -> None:
        tensors = [each.tensor for each in self.coordinates]
        move(tensors, self.origin, *((where[axis], vector) for axis, vector in self.directions.items()))

    def _loss_at(self, where: Mapping[str, float]) -> float:
        self._move(where)
        return evaluate(self.forward(self.mode.network()), self.objective.loss, self.what.splits[""]()).loss

    def _at(self, where: Mapping[str, float]) -> dict[str, float]:
        started = time.perf_counter()
        self._move(where)
        values = self._losses() | {"penalty": self._penalty(where)}
        if self.what.metrics:
            at_point = self.objective.with_model(self.mode.module)
            values |= point_metrics(at_point, self.what.splits[""](), self.what.parameters, self.what.metrics)
        return values | {"seconds": time.perf_counter() - started}

    def _here(self) -> Plainly:
        self.mode.network()  # statistics, where they are re-estimated
        try:
            exact = duplicate(self.mode.module).double()
            forward = Objective(exact, self.objective.loss, views=self.objective.views).precisely(exact)
            return self._plainly(lambda x: forward(x.double() if x.is_floating_point() else x), "float64")
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return self._plainly(self.objective.precisely(self.mode.module), "its own precision")

    def _plainly(self, forward: Callable[[Tensor], Tensor], precision: str) -> Plainly:
        largest: list[Tensor] = []

        def watched(inputs: Tensor) -> Tensor:
            outputs = forward(inputs)
            largest.append(outputs.detach().abs().reshape(len(outputs), -1).amax(dim=1).double())
            return outputs

        found = evaluate(watched, self.objective.loss, self.what.splits[""]())
        return Plainly(found, precision, float(torch.cat(largest).mean()))

    def _in_memory(self, compute: Callable[[], T]) -> T:
        """With less memory than expected in smaller batches, to the same numbers where there are such."""
        while True:
            try:
                return compute()
            except (MemoryError, RuntimeError) as error:
                may_halve = self.forward.pace.batch_size > 1 and not self.mode.by_batch
                if not (may_halve and is_out_of_memory(error)):
                    raise
            # Outside of the handler: the exception holds on to the memory.
            self.forward.halve()

    def _losses(self) -> dict[str, float]:
        forward = self.forward(self.mode.network())
        found: dict[str, float] = {}
        for prefix, batches in self.what.splits.items():
            each = evaluate(forward, self.objective.loss, batches())
            found |= {
                f"{prefix}loss": each.loss,
                f"{prefix}loss_stderr": each.loss_stderr,
                f"{prefix}error": each.error,
            }
        return found


def _penalty(
    theta: Vector, directions: Mapping[str, Vector], weight_decay: float
) -> Callable[[Mapping[str, float]], float]:
    """Lambda / 2 * |theta + sum of a * d|^2 as the quadratic polynomial in the steps a that it is."""
    constant = float(squared_norm(theta))
    linear = {axis: float(dot(theta, vector)) for axis, vector in directions.items()}
    square = {(i, j): float(dot(u, v)) for i, u in directions.items() for j, v in directions.items()}

    def value(where: Mapping[str, float]) -> float:
        moved = constant + sum(2 * a * linear[axis] for axis, a in where.items())
        return weight_decay / 2 * (moved + sum(where[i] * where[j] * product for (i, j), product in square.items()))

    return value
