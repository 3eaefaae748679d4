"""The loss surface of any network, from Python: a module, a loss function and batches in, an xarray Dataset out."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import torch
import xarray as xr
from torch import Tensor, nn

from lossviz.config.directions import Directions, Random
from lossviz.config.surface import Axis, BatchNormMode, Metric, Surface
from lossviz.data.batch import Batch, moved
from lossviz.engine.backend import full_precision
from lossviz.engine.curvature import attributes_of_products
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.loss import check_pair, given_loss, given_loss_name
from lossviz.engine.losses import Closure, OfOutputs, PerExample
from lossviz.engine.objective import Objective
from lossviz.engine.point import undisturbed
from lossviz.engine.rehearsal import rehearse_closure
from lossviz.engine.trust import EXAMPLES
from lossviz.errors import RequestError, either, refuse
from lossviz.progress import Report
from lossviz.results import in_units
from lossviz.signals import StopRequest
from lossviz.surface.attributes import direction_attributes
from lossviz.surface.batch_norm import treatment_of
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions import KINDS, make_directions
from lossviz.surface.directions.sources import DirectionSet, Sources
from lossviz.surface.file import Attributes
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid, resolve
from lossviz.surface.plane import LossPlane, quantities
from lossviz.surface.subspace import Subspace
from lossviz.surface.waypoints import measure_waypoints

# Filter-normalised; biases and normalisation layers stay.
RANDOM = Random()
NONE: Mapping[str, Any] = MappingProxyType({})
BY_BATCH = "the outputs for an example depend on its batch in eval mode too: another batch size gives another loss"
Batches = Iterable[Batch]


def loss_surface(
    model: nn.Module,
    batches: Batches,
    loss: PerExample | Closure | None = None,
    *,
    x: Axis = (-1.0, 1.0, 25),
    y: Axis | None = None,
    directions: Directions | Mapping[str, Mapping[str, Tensor]] = RANDOM,
    batch_norm: BatchNormMode = "frozen",
    checkpoints: Mapping[str, Mapping[str, Tensor]] = NONE,
    metrics: Sequence[Metric] = (),
    compile: bool = False,
    progress: bool = False,
) -> xr.Dataset:
    """L(theta + x * d_x + y * d_y) around a network as it is, in eval mode; the network is left bitwise as it was.

    Args:
        model: the network, on any device.
        batches: inputs and targets, repeated for every point: a list, or a DataLoader that does not
            shuffle or augment. They are moved to the network's device.
        loss: from outputs (N, ...) and targets (N, ...) to one loss an example, (N,). Default: cross-entropy of
            classes, squared error of float targets that have the shape of the outputs. Examples whose class it
            ignores (its `ignore_index`, or -100) are left out of mean, standard error and error.
        x: min, max and number of points along the first direction; min and max may be "auto".
        y: the same along the second; None for a line.
        directions: a section of the configuration, from lossviz.config.directions: Random(normalize="layer", seed=5),
            Toward, Pca, Hessian, Gradient or File; or by axis, "x" and perhaps "y", a tensor for every parameter that
            moves, by its name.
        batch_norm: at a moved point: frozen running statistics; those of each batch; re-estimated on all batches
            (recalibrate); or statistics that move with the directions (interpolate).
        checkpoints: other networks by name, as state_dicts: what `checkpoints` of Toward and Pca mean, beside paths.
        metrics: gradient, its norm; hessian, the extreme eigenvalues; over the parameters that move.
        compile: whether torch.compile compiles the forward pass; worth it for many points.
        progress: whether to show how far it is.

    Returns:
        loss, loss_stderr (nat where the loss is the default for classes, else 1), error (%; NaN where outputs are not
        those of classes), metrics, status and seconds over y and x; of Toward and Pca also the checkpoints, as
        checkpoint_x, checkpoint_loss and so on (docs/results.md).

    Raises:
        RequestError: an argument is none of those above, a direction does not fit the network or is zero, the batches
            can be gone through only once, or the loss is not one number an example.

    Example:
        >>> from lossviz import loss_surface
        >>> model, inputs, targets = nn.Linear(2, 3), torch.randn(9, 2), torch.arange(9) % 3
        >>> surface = loss_surface(model, [(inputs, targets)], x=(-1, 1, 5), y=(-1, 1, 5))
        >>> surface.loss.dims, surface.loss.shape
        (('y', 'x'), (5, 5))
        >>> abs(surface.loss.sel(x=0, y=0).item() - cross_entropy(model(inputs), targets).mean().item()) < 1e-6
        True
    """
    _refuse(model, batches, x, y)
    _refuse_words(directions, batch_norm, metrics)
    if not isinstance(directions, Mapping):
        wanted = Surface.model_construct(x=x, y=y, directions=directions, batch_norm=batch_norm, metrics=tuple(metrics))
        if conflicts := tuple(wanted.conflicts()):
            raise RequestError(*conflicts)
    objective, report = Objective(model, given_loss(loss)), Report(quiet=not progress)
    examples = _Examples(batches, objective)
    # A DataLoader draws a number whenever it starts, even where it does not shuffle.
    with undisturbed(model, ()), torch.random.fork_rng(devices=[]), full_precision(), ExitStack() as stack:
        model.eval()
        first = examples.first
        closure = not isinstance(objective.loss, OfOutputs)
        terms = rehearse_closure(objective, first, differentiable=bool(metrics)) if closure else ()
        subspace = Subspace.of(model, statistics=batch_norm == "interpolate")
        axes = ("x",) if y is None else ("x", "y")
        found = _directions(directions, subspace, axes, objective, examples, checkpoints)
        grid = Grid.empty(
            resolve(x, found.ranges.get("x"), found.ones),
            None if y is None else resolve(y, found.ranges.get("y"), found.ones),
            quantities([""], metrics, terms),
        )
        size = without_gradients(partial(objective.examples, model, first))
        forward = Forward(objective, ExecutionPlan(size, compile), _warn)
        few = objective.loss.few(first, EXAMPLES)
        treatment = treatment_of(batch_norm, objective, few, examples.batches, "batch_norm")
        for doubt in [*objective.doubts, *([BY_BATCH] if treatment.by_batch and batch_norm != "batch" else [])]:
            _warn(doubt)

        def pieces() -> Batches:
            # Those that give the statistics stay whole.
            return examples.batches(None if treatment.by_batch else forward.plan.batch_size)

        origin = stack.enter_context(undisturbed(model, found.subspace.moved_tensors, keep=not found.digest))
        plane = LossPlane(
            *(objective, found.subspace, found.vectors, treatment, forward, {"": pieces}, metrics), origin=origin
        )
        attributes: Attributes = {
            "title": "loss surface",
            "loss_function": given_loss_name(loss, first),
            **found.facts,
        }
        attributes |= direction_attributes(subspace, found.vectors)
        waypoints = xr.Dataset()
        if found.waypoints:
            with report.track("checkpoints", len(found.waypoints), "checkpoints") as track:
                waypoints = measure_waypoints(plane, found.waypoints, track, StopRequest())
        with report.track("loss surface", grid.status.size, "points") as track:
            for index in grid.todo():
                grid.put(index, plane(**grid.where(index)))
                track.advance()
        attributes |= attributes_of_products(model) | attributes_of_products(treatment.module)
    return in_units(grid.dataset(attributes).merge(waypoints)).drop_vars("penalty")


@dataclass(frozen=True)
class _Examples:
    """The examples that a person gave.

    Attributes:
        given: batches.
        objective: the loss of them.
    """

    given: Batches
    objective: Objective

    @property
    def first(self) -> Batch:
        """The first batch, whose size is mostly that of all but the last.

        Raises:
            RequestError: there is none, or it does not go with the loss.
        """
        batches = iter(self.given)
        try:
            batch = next(batches)
        except StopIteration:
            refuse("batches", "are none", accepted="one batch or more")
        check_pair(self.objective.loss, batch, "batches")
        return moved(batch, self.objective.device)

    def batches(self, size: int | None = None, examples: int | str = "all") -> Batches:
        """On the device.

        Args:
            size: at most so many examples in each, where batches are (inputs, targets); None: as they were given.
            examples: how many, the first ones; or all. Batches that only a closure knows stay whole.
        """
        left, model = examples, self.objective.model
        for given in self.given:
            if left != "all" and int(left) <= 0:
                return
            batch = moved(given, self.objective.device)
            if not isinstance(self.objective.loss, OfOutputs):
                if left != "all":
                    left = int(left) - without_gradients(partial(self.objective.examples, model, batch))
                yield batch
                continue
            inputs, targets = batch
            count = len(targets) if left == "all" else min(len(targets), int(left))
            left = left if left == "all" else int(left) - count
            step = size or count
            for start in range(0, count, step):
                part = slice(start, min(start + step, count))
                yield inputs[part], targets[part]


def _directions(
    wanted: Directions | Mapping[str, Mapping[str, Tensor]],
    subspace: Subspace,
    axes: Sequence[str],
    objective: Objective,
    examples: _Examples,
    checkpoints: Mapping[str, Mapping[str, Tensor]],
) -> DirectionSet:
    if isinstance(wanted, Mapping):
        return _given(subspace, wanted, axes)
    networks = {name: Checkpoint(name, Path(name), state=state) for name, state in checkpoints.items()}

    def find(name: str | int) -> Checkpoint:
        if name in networks:
            return networks[str(name)]
        if not Path(str(name)).is_file():
            accepted = either([*networks, "a path"])
            refuse("directions.checkpoints", f"{name}: there is no such network", accepted=accepted)
        return Checkpoint(str(name), Path(str(name)))

    own = Checkpoint("the network itself", Path("the network itself"), state={})
    sources = Sources(
        objective, axes, own, find, lambda: list(networks.values()), lambda count: examples.batches(examples=count)
    )
    return make_directions(wanted, subspace, sources)


def _refuse(model: nn.Module, batches: object, x: Axis, y: Axis | None) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        refuse("model", "no parameter is trainable, so none would move", advice="model.requires_grad_(True)")
    if isinstance(batches, Iterator):
        refuse("batches", "can be gone through only once", accepted="a list, or a DataLoader")
    for name, axis in (("x", x), ("y", y)):
        if axis is not None and not _grows(axis):
            refuse(f"{name} = {axis}", accepted="min, max and number of points, with min < max and two or more")


def _grows(axis: Axis) -> bool:
    if len(axis) != 3 or axis[2] < 2:
        return False
    low, high, _ = axis
    return low == "auto" or high == "auto" or low < high


def _refuse_words(directions: object, batch_norm: str, metrics: Sequence[str]) -> None:
    if not isinstance(directions, (Mapping, *KINDS)):
        kinds = ", ".join(f"{kind.__name__}(...)" for kind in KINDS)
        known = f"{kinds} of lossviz.config.directions, or by axis a tensor for every parameter that moves"
        refuse(f"directions = {directions!r}", accepted=known)
    for name, given, accepted in (
        ("batch_norm", [batch_norm], get_args(BatchNormMode)),
        ("metrics", metrics, get_args(Metric)),
    ):
        for each in given:
            if each not in accepted:
                refuse(f"{name} = {each!r}", accepted=either(accepted))


def _given(subspace: Subspace, directions: Mapping[str, Mapping[str, Tensor]], axes: Sequence[str]) -> DirectionSet:
    """Directions by axis and name of the tensor; what no axis names stays."""
    shapes = {each.name: each.tensor.shape for each in subspace.tensors}
    for axis in axes:
        if axis not in directions:
            advice = "a kind, such as gradient, is an object: Gradient() of lossviz.config.directions"
            accepted = "one mapping of parameters for each axis"
            refuse("directions", f"has no {axis}", accepted=accepted, advice=advice if "kind" in directions else "")
        for name, part in directions[axis].items():
            if name not in shapes:
                advice = f"there are: {', '.join(shapes)}"
                refuse(f"directions[{axis!r}]", f"the network has no parameter {name}", advice=advice)
            if part.shape != shapes[name]:
                problem = f"is {tuple(part.shape)}, and the parameter {tuple(shapes[name])}"
                refuse(f"directions[{axis!r}][{name!r}]", problem)
        if not any(part.any() for part in directions[axis].values()):
            refuse("directions", f"that of {axis} is zero in every parameter")
    zeros = dict(zip(shapes, subspace.zeros(), strict=True))
    vectors = {axis: subspace.like([{**zeros, **directions[axis]}[name] for name in shapes]) for axis in axes}
    return DirectionSet(vectors, subspace.only({name for axis in axes for name in directions[axis]}))


def _warn(doubt: str) -> None:
    warnings.warn(doubt, stacklevel=3)
