"""The loss surface of any network, from Python: a module, a loss function and batches in, an xarray Dataset out."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

import lossviz
from lossviz.config.directions import Directions, Gradient, Hessian, Random
from lossviz.config.surface import Axis, BatchNormMode, Metric, Surface
from lossviz.data.batch import Batch, same_again
from lossviz.engine.backend import full_precision
from lossviz.engine.loss import given_loss, given_loss_name
from lossviz.engine.losses import Closure, OfModel
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import PerExample
from lossviz.engine.point import undisturbed
from lossviz.engine.precision import without_autocast
from lossviz.engine.rehearsal import rehearse_closure
from lossviz.engine.trust import EXAMPLES
from lossviz.errors import RequestError, either, refuse
from lossviz.models.duplicate import unwrapped
from lossviz.models.misfits import misfit
from lossviz.notebook.given import GivenBatches, GivenDirections, States, find_directions
from lossviz.notebook.kept import KeptSurface, identity
from lossviz.progress import Report
from lossviz.results import SURFACE
from lossviz.surface.attributes import direction_attributes
from lossviz.surface.batch_norm import treatment_of
from lossviz.surface.directions import KINDS
from lossviz.surface.directions.sources import DirectionSet
from lossviz.surface.file import Attributes
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.grid import Grid, resolve
from lossviz.surface.plane import LossPlane, quantities
from lossviz.surface.subspace import Subspace
from lossviz.surface.waypoints import measure_waypoint, waypoints_dataset

# Filter-normalised; biases and normalisation layers stay.
RANDOM = Random()
FLAT = "the loss is the same at all points; a loss(model, batch) calls its argument `model` and no other network"
NONE: Mapping[str, Any] = MappingProxyType({})
ANOTHER_BATCH = (
    "the first batch differs every time (shuffled, or changed at random): unless only the order changes, every "
    "point is of other examples"
)
BY_BATCH = "the outputs for an example depend on its batch in eval mode too: another batch size gives another loss"


def loss_surface(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: PerExample | Closure | None = None,
    *,
    x: Axis = (-1.0, 1.0, 25),
    y: Axis | None = None,
    directions: Directions | GivenDirections = RANDOM,
    batch_norm: BatchNormMode = "frozen",
    checkpoints: States = NONE,
    metrics: Sequence[Metric] = (),
    compile: bool = False,
    progress: bool = False,
    save: str | Path | None = None,
) -> xr.Dataset:
    """L(theta + x * d_x + y * d_y) around a network as it is, in eval mode; the network is left bitwise as it was.

    Args:
        model: the network, on any device; of one in torch.compile or DataParallel, the network within.
        batches: gone through anew for every point: a list, or a DataLoader that does not shuffle or augment. They are
            moved to the network's device. A batch is (inputs, targets), or for a loss of the model any nesting of
            tensors: mappings, lists, tuples, objects with a `.to(device)`.
        loss: from outputs (N, ...) and targets (N, ...) to one loss an example, (N,). Default: cross-entropy of
            classes, or of sequences of them, (N, T), in which all tokens weigh the same; squared error of float targets
            that have the shape of the outputs. Examples whose class it ignores (its `ignore_index`, or -100) are left
            out of mean, standard error and error.
            Or, where its first parameter is named `model`, `loss(model, batch)`, which calls the network itself. It
            returns (N,); or (sums, counts), each (N,), whose mean is sum(sums) / sum(counts), as for sequences of
            different lengths; or a mapping from names to these, of which the first is the loss.
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
        save: a file (.nc) that is written every few seconds. If it is there, what it holds is not computed again, and
            it is refused where it is of another network, other batches, directions, or loss at one known point.

    Returns:
        loss, loss_stderr (nat where the loss is the default for classes, else 1), error (%; NaN where outputs are not
        those of classes), loss_NAME and loss_NAME_stderr of further losses, metrics, status and seconds over y and x;
        of Toward and Pca also the checkpoints, as checkpoint_x, checkpoint_loss and so on (docs/results.md).

    Raises:
        RequestError: an argument is none of those above, a direction does not fit the network or is zero, the batches
            can be gone through only once, or the loss is not one number an example, draws random numbers, keeps a graph
            or changes its batch.

    Example:
        >>> from lossviz import loss_surface
        >>> model, inputs, targets = nn.Linear(2, 3), torch.randn(9, 2), torch.arange(9) % 3
        >>> surface = loss_surface(model, [(inputs, targets)], x=(-1, 1, 5), y=(-1, 1, 5))
        >>> surface.loss.dims, surface.loss.shape
        (('y', 'x'), (5, 5))
        >>> abs(surface.loss.sel(x=0, y=0).item() - nn.functional.cross_entropy(model(inputs), targets).item()) < 1e-6
        True
    """
    _refuse(model, batches, x, y)
    _refuse_words(directions, batch_norm, metrics)
    _refuse_conflicts(x, y, directions, batch_norm, metrics)
    model = unwrapped(model)  # or its names, and with them random directions, would be others
    objective, report = Objective(model, given_loss(loss)), Report(quiet=not progress)
    examples = GivenBatches(batches, objective)
    # A DataLoader draws a number whenever it starts, even where it does not shuffle.
    with (
        undisturbed(model, ()),
        torch.random.fork_rng(devices=[]),
        full_precision(),
        without_autocast(model),
        ExitStack() as stack,
    ):
        model.eval()
        first = examples.first
        if not same_again(batches, first):
            _warn(ANOTHER_BATCH)
        terms: tuple[str, ...] = ()
        if isinstance(objective.loss, OfModel):
            terms = rehearse_closure(objective, first, bool(metrics) or isinstance(directions, Gradient | Hessian))
        subspace = Subspace.of(model, statistics=batch_norm == "interpolate")
        axes = ("x",) if y is None else ("x", "y")
        found = find_directions(directions, subspace, axes, examples, checkpoints)
        facts: Attributes = {
            "title": SURFACE,
            "loss_function": given_loss_name(loss, first),
            "batch_norm": batch_norm,
            **found.facts,
            **direction_attributes(subspace, found.vectors),
            **(identity(model, batches, found) if save is not None else {}),
        }
        origin = stack.enter_context(undisturbed(model, found.subspace.moved_tensors, keep=not found.digest))
        plane = _plane(examples, found, batch_norm, metrics, compile, origin)
        surface = KeptSurface(_grid(x, y, found, metrics, terms), facts, file=None if save is None else Path(save))
        _fill(surface, plane, found, report)
    found_surface = surface.dataset()
    if len(np.unique(found_surface.loss)) == 1 and np.isfinite(found_surface.loss).all():
        _warn(FLAT)
    return found_surface


def _fill(surface: KeptSurface, plane: LossPlane, found: DirectionSet, report: Report) -> None:
    """Take over what the file has, and compute the rest: checkpoints first."""
    surface.resume(plane)
    if found.waypoints and not surface.waypoints:
        with report.track("checkpoints", len(found.waypoints), "checkpoints") as track:
            each = [measure_waypoint(plane, checkpoint) for checkpoint in track.each(found.waypoints)]
        surface.waypoints = waypoints_dataset(found.waypoints, each)
    with report.track("loss surface", surface.grid.status.size, "points", surface.grid.done) as track:
        surface.compute(plane, track)
    for doubt in plane.prefix.doubts if plane.prefix else ():
        _warn(doubt)


def _plane(
    examples: GivenBatches,
    found: DirectionSet,
    batch_norm: BatchNormMode,
    metrics: Sequence[Metric],
    compile: bool,
    origin: Sequence[Tensor],
) -> LossPlane:
    objective, first = examples.objective, examples.first
    forward = Forward(objective, ExecutionPlan(examples.count(first), compile), _warn)
    few = objective.loss.few(first, EXAMPLES)
    treatment = treatment_of(batch_norm, objective, few, examples.batches, "batch_norm")
    for doubt in [*objective.doubts, *([BY_BATCH] if treatment.by_batch and batch_norm != "batch" else [])]:
        _warn(doubt)

    def pieces() -> Iterable[Batch]:
        # Those that give the statistics stay whole.
        return examples.batches(None if treatment.by_batch else forward.plan.batch_size)

    return LossPlane(
        *(objective, found.subspace, found.vectors, treatment, forward, {"": pieces}, metrics), origin=origin
    )


def _grid(x: Axis, y: Axis | None, found: DirectionSet, metrics: Sequence[Metric], terms: Sequence[str]) -> Grid:
    across = resolve(x, found.ranges.get("x"), found.ones)
    up = None if y is None else resolve(y, found.ranges.get("y"), found.ones)
    return Grid.empty(across, up, quantities([""], metrics, terms))


def _refuse(model: nn.Module, batches: object, x: Axis, y: Axis | None) -> None:
    unfit = misfit(model)
    if unfit is not None:
        refuse("model", unfit[0], accepted=unfit[1])
    if isinstance(batches, Iterator):
        refuse("batches", "can be gone through only once", accepted="a list, or a DataLoader")
    for name, axis in (("x", x), ("y", y)):
        if axis is not None and not _grows(axis):
            refuse(f"{name} = {axis}", accepted="min, max and number of points, with min < max and two or more")


def _refuse_conflicts(
    x: Axis,
    y: Axis | None,
    directions: Directions | GivenDirections,
    batch_norm: BatchNormMode,
    metrics: Sequence[Metric],
) -> None:
    """Refuse what the section `surface` of a configuration refuses."""
    if not isinstance(directions, Mapping):
        wanted = Surface.model_construct(x=x, y=y, directions=directions, batch_norm=batch_norm, metrics=tuple(metrics))
        if conflicts := tuple(wanted.conflicts()):
            raise RequestError(*conflicts)


def _grows(axis: object) -> bool:
    if not isinstance(axis, Sequence) or len(axis) != 3:
        return False
    low, high, count = axis
    if not isinstance(count, int) or not all(each == "auto" or isinstance(each, float | int) for each in (low, high)):
        return False
    return count >= 2 and (low == "auto" or high == "auto" or low < high)


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


def _warn(doubt: str) -> None:
    """Warn at the line that is not of this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith(f"{lossviz.__name__}."):
        frame, level = frame.f_back, level + 1
    warnings.warn(doubt, stacklevel=level)
