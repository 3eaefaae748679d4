"""The loss on a line or plane through a network: a function of x and y that knows no files and no processes."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lossviz.config.surface import Metric
from lossviz.data.batch import Batch, moved
from lossviz.engine.evaluation import Batches, Evaluation, evaluate
from lossviz.engine.exact import copy_fits, exact_networks
from lossviz.engine.memory import is_out_of_memory
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector, move, squared_norm
from lossviz.engine.streamed import picked
from lossviz.engine.terms import Losses
from lossviz.surface.batch_norm import BatchNormTreatment
from lossviz.surface.forward import Forward
from lossviz.surface.metrics import point_metrics
from lossviz.surface.prefix import Prefix
from lossviz.surface.subspace import Subspace

T = TypeVar("T")


def quantities(prefixes: Iterable[str], metrics: Sequence[str], terms: Sequence[str] = ()) -> list[str]:
    """Names of what a point gives, in the order of result files."""
    of_terms = [f"loss_{term}{end}" for term in terms for end in ("", "_stderr")]
    losses = [f"{prefix}{name}" for prefix in prefixes for name in ("loss", "loss_stderr", "error", *of_terms)]
    further = {"gradient": ["grad_norm"], "hessian": ["hessian_max", "hessian_min"]}
    return [*losses, "penalty", *(name for metric in metrics for name in further[metric])]


class PlainLoss(NamedTuple):
    """A loss by the plain path, in which precision, and how large the outputs are that it was computed from.

    Attributes:
        evaluation: the loss.
        precision: float64, or "its own precision", with the reason where that is too little memory.
        outputs: max_k |f_k(x)|, mean over the examples x.
    """

    evaluation: Evaluation
    precision: str
    outputs: float


@dataclass(eq=False)
class LossPlane:
    """(x, y) -> L(theta + x * d_x + y * d_y), and the other quantities at that point.

    Every point is set from theta itself, nothing accumulates. The network is left at the last point.

    Attributes:
        objective: the loss; its network is moved.
        subspace: what of the network moves.
        directions: by axis, `x` and perhaps `y`: vectors of the subspace.
        treatment: BatchNorm at a moved point.
        forward: how networks are evaluated.
        splits: batches by the prefix of their quantities' names: "" or "test_".
        metrics: gradient, hessian or neither, over the first split and the parameters that move.
        weight_decay: lambda of the penalty lambda / 2 * |theta|^2.
        prefix: what comes before the first module that moves; none where statistics change from point to point.
        theta: the centre, where the network is at first: copies of what moves, and the network's own tensors.

    Args:
        origin: a copy of what moves, in memory or not, where there is one already (`undisturbed`).
    """

    objective: Objective
    subspace: Subspace
    directions: Mapping[str, Vector]
    treatment: BatchNormTreatment
    forward: Forward
    splits: Mapping[str, Batches]
    metrics: Sequence[Metric] = ()
    weight_decay: float = 0.0
    origin: InitVar[Vector] = ()
    theta: Vector = field(init=False)
    prefix: Prefix | None = field(init=False)

    def __post_init__(self, origin: Vector) -> None:
        here = [tensor.detach() for tensor in self.subspace.theta]
        fixed = self.treatment.pairs is not None and not self.treatment.by_batch
        self.prefix = Prefix(self.subspace, self.treatment.pairs or []) if fixed else None
        self._moved = [i for i, moves in enumerate(self.subspace.movable) if moves]
        self._here = [here[i] for i in self._moved]
        self._origin = origin or [tensor.clone() for tensor in self._here]
        places: list[tuple[Vector, int]] = [(here, i) for i in range(len(here))]
        for k, i in enumerate(self._moved):
            places[i] = (self._origin, k)
        self.theta = picked(places, here)

    def __call__(self, x: float, y: float = 0.0) -> dict[str, float]:
        """The quantities of a point, and the seconds it took; on a line y is ignored."""
        return self._with_smaller_batches(lambda: self._measure(x, y))

    def loss(self, x: float, y: float = 0.0) -> float:
        """The first split's loss at a point, and nothing else."""
        return self._with_smaller_batches(lambda: self._loss(x, y))

    def with_network(self, x: float, y: float, compute: Callable[[nn.Module], T]) -> T:
        """What a function finds with the network of a point, as it is evaluated; once more where memory runs out."""

        def moved() -> T:
            self._move(x, y)
            return compute(self.treatment.network())

        return self._with_smaller_batches(moved)

    def plain_loss(self) -> PlainLoss:
        """The first split's loss wherever the network is, by the plain path.

        In float64, but for a network that insists on a precision of its own: a module at a time (`in_float64`), or on
        a copy, where the network is one that this does not do for and half of the free memory holds the copy.

        Not in float32: on ResNet-56 without shortcuts (the official checkpoint) unfolded BatchNorm in float32 is
        2.3e-5 from that, and folded 2.2e-7.
        """
        return self._with_smaller_batches(self._plain_loss)

    def centre(self) -> None:
        """Move the network to theta."""
        self._move(0.0, 0.0)

    def _move(self, x: float, y: float) -> None:
        steps = {"x": x, "y": y}
        moving = {axis: picked([(d, i) for i in self._moved], self._here) for axis, d in self.directions.items()}
        move(self._here, self._origin, *((steps[axis], vector) for axis, vector in moving.items()))

    def _loss(self, x: float, y: float) -> float:
        self._move(x, y)
        return evaluate(self._losses_at(x, y), self.splits[""]()).loss

    def _losses_at(self, x: float, y: float) -> Callable[[Batch], Losses]:
        network = self.treatment.network()
        losses = self.forward(network)
        # A compiled pass is one kernel after another, without modules.
        kept = None if self.forward.plan.compiled else self.prefix
        return losses if kept is None else kept(network, losses, (x, y))

    def _measure(self, x: float, y: float) -> dict[str, float]:
        started = time.perf_counter()
        self._move(x, y)
        values = self._losses(x, y) | {"penalty": self.penalty(x, y)}
        if self.metrics:
            at_point = self.objective.with_model(self.treatment.module)
            values |= point_metrics(at_point, self.splits[""](), self.subspace.moved_parameters, self.metrics)
        return values | {"seconds": time.perf_counter() - started}

    def _losses(self, x: float, y: float) -> dict[str, float]:
        losses = self._losses_at(x, y)
        found: dict[str, float] = {}
        for prefix, batches in self.splits.items():
            each = evaluate(losses, batches())
            found |= {
                f"{prefix}loss": each.loss,
                f"{prefix}loss_stderr": each.loss_stderr,
                f"{prefix}error": each.error,
            }
            for name, mean in each.terms.items():
                found |= {f"{prefix}loss_{name}": mean.loss, f"{prefix}loss_{name}_stderr": mean.stderr}
        return found

    @cached_property
    def penalty(self) -> "_Penalty":
        """(x, y) -> the penalty there."""
        return _Penalty(self.subspace, self.theta, self.directions, self.weight_decay)

    def _plain_loss(self) -> PlainLoss:
        self.treatment.network()  # statistics, where they are re-estimated
        for exact in exact_networks(self.treatment.module):
            try:
                return self._plainly(self._exactly(exact), "float64")
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
        left_out = "" if copy_fits(self.treatment.module) else " (memory does not hold a copy in float64)"
        return self._plainly(self.objective.watched(self.treatment.module), f"its own precision{left_out}")

    def _exactly(self, exact: nn.Module) -> Callable[[Batch], Losses]:
        losses, device = Objective(exact, self.objective.loss).watched(exact), self.objective.device
        return lambda batch: losses(moved(batch, device, torch.float64))

    def _plainly(self, losses: Callable[[Batch], Losses], precision: str) -> PlainLoss:
        largest: list[Tensor] = []

        def watched(batch: Batch) -> Losses:
            found = losses(batch)
            largest.append(found.seen.detach().abs().reshape(len(found.seen), -1).amax(dim=1).double())
            return found

        found = evaluate(watched, self.splits[""]())
        return PlainLoss(found, precision, float(torch.cat(largest).mean()))

    def _with_smaller_batches(self, compute: Callable[[], T]) -> T:
        """Retry with smaller batches if memory runs out; the numbers stay the same up to their last digits."""
        while True:
            try:
                return compute()
            except (MemoryError, RuntimeError) as error:
                may_halve = self.forward.plan.batch_size > 1 and not self.treatment.by_batch
                if not (may_halve and is_out_of_memory(error)):
                    raise
            # Outside of the handler: the exception holds on to the memory.
            if self.prefix is None or not self.prefix.release():
                self.forward.halve()


class _Penalty:
    """Lambda / 2 * |theta + x * d_x + y * d_y|^2 as the quadratic polynomial in x and y that it is."""

    def __init__(
        self, subspace: Subspace, theta: Vector, directions: Mapping[str, Vector], weight_decay: float
    ) -> None:
        self.weight_decay = weight_decay
        if weight_decay == 0:
            directions = {}  # which may have to be drawn again for each product
        self.constant = float(squared_norm(subspace.parameters(theta)))
        self.linear = {axis: subspace.dot(theta, vector) for axis, vector in directions.items()}
        self.square = {(i, j): subspace.dot(u, v) for i, u in directions.items() for j, v in directions.items()}

    def __call__(self, x: float, y: float) -> float:
        at = {"x": x, "y": y}
        moved = self.constant + sum(2 * at[axis] * slope for axis, slope in self.linear.items())
        return self.weight_decay / 2 * (moved + sum(at[i] * at[j] * each for (i, j), each in self.square.items()))
