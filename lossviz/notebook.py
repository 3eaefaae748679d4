"""The loss surface of any network, from Python: a module, a loss function and batches in, an xarray Dataset out."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import wraps
from typing import Literal

import torch
import xarray as xr
from torch import Tensor, nn

from lossviz.config.directions import Random
from lossviz.engine.backend import full_precision
from lossviz.engine.evaluation import PerExample
from lossviz.engine.loss import loss_name
from lossviz.engine.objective import Objective, cross_entropy
from lossviz.engine.point import undisturbed
from lossviz.errors import RequestError, either, refuse
from lossviz.results import in_units
from lossviz.surface import record
from lossviz.surface.batch_norm import by_batch, frozen, recalibrate, unknown
from lossviz.surface.directions import random_direction
from lossviz.surface.grid import Grid, Range
from lossviz.surface.moving import Coordinate, moving, selected
from lossviz.surface.pace import Forward, Pace
from lossviz.surface.slice import Measured, Slice, quantities

# Filter-normalised; biases and normalisation layers stay.
RANDOM = Random()
BY_BATCH = "the outputs for an example depend on its batch in eval mode too: another batch size gives another loss"
BATCH_NORMS = ("frozen", "batch", "recalibrate")


def loss_surface(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: PerExample | None = None,
    *,
    x: Range = (-1.0, 1.0, 25),
    y: Range | None = None,
    directions: Random | Mapping[str, Mapping[str, Tensor]] = RANDOM,
    batch_norm: Literal["frozen", "batch", "recalibrate"] = "frozen",
) -> xr.Dataset:
    """L(theta + x * d_x + y * d_y) around a network as it is, in eval mode; the network is left bitwise as it was.

    Args:
        model: the network, on any device.
        batches: inputs and targets, gone through anew for every point: a list, or a DataLoader that does not
            shuffle or augment. They are moved to the network's device.
        loss: from outputs (N, ...) and targets (N, ...) to one loss an example, (N,). Default: cross-entropy of
            classes, squared error of float targets that have the shape of the outputs. Examples whose class it
            ignores (its `ignore_index`, or -100) are left out of mean, standard error and error.
        x: min, max and number of points along the first direction.
        y: the same along the second; None for a line.
        directions: Gaussian ones (Li et al. 2018, section 4), such as Random(normalize="layer", seed=5); or by axis,
            "x" and perhaps "y", a tensor for every parameter that moves, by its name.
        batch_norm: at a moved point: frozen running statistics; those of each batch; or re-estimated on all batches.

    Returns:
        loss, loss_stderr (nat where the loss is the default for classes, else 1), error (%; NaN where outputs are not
        those of classes), status and seconds over y and x.

    Raises:
        RequestError: an argument is none of those above, a direction does not fit the network or is zero, the batches
            can be gone through only once, or the loss is not one number an example.

    Example:
        >>> from lossviz import loss_surface
        >>> surface = loss_surface(torch.nn.Linear(2, 3), [(torch.randn(8, 2), torch.arange(8) % 3)], x=(-1, 1, 5))
        >>> surface.loss.plot()  # doctest: +SKIP
    """
    _refuse(model, batches, x, y)
    _refuse_words(directions, batch_norm)
    objective, coordinates = Objective(model, _checked(loss or _by_targets)), moving(model, statistics=False)
    axes = ("x",) if y is None else ("x", "y")
    if isinstance(directions, Random):
        moved, wanted = selected(coordinates, directions), directions
        vectors = {axis: random_direction(coordinates, moved, wanted.normalize, wanted.seed, axis) for axis in axes}
    else:
        vectors = {axis: _given(coordinates, directions, axis) for axis in axes}
    for axis, vector in vectors.items():
        if not any(part.any() for part in vector):
            raise RequestError(f"directions: that of {axis} is zero in every parameter")
    grid = Grid.empty(x, y, quantities([""], []))

    def placed() -> Iterable[tuple[Tensor, Tensor]]:
        return ((inputs.to(objective.device), targets.to(objective.device)) for inputs, targets in batches)

    # A DataLoader draws a number whenever it starts, even where it does not shuffle.
    with undisturbed(model) as theta, torch.random.fork_rng(devices=[]), full_precision():
        model.eval()
        first, _ = next(iter(placed()))
        if batch_norm != "frozen" and (modules := unknown(objective, first)):
            refuse(
                "batch_norm",
                "would leave modules as they are which normalise over the batch in a way of their own: "
                + ", ".join(modules[:3]),
                given=batch_norm,
                accepted="frozen; or BatchNorm of torch.nn in the network",
            )
        if batch_norm == "batch":
            mode = by_batch(objective)
        elif batch_norm == "recalibrate":
            mode = recalibrate(objective, [inputs for inputs, _ in placed()])
        else:
            mode = frozen(objective, first)
        alone = [] if batch_norm == "batch" or not mode.by_batch else [BY_BATCH]
        for doubt in [*objective.doubts, *alone]:
            warnings.warn(doubt, stacklevel=2)
        part = Slice(objective, coordinates, theta, vectors, mode, Forward(objective, Pace(1)), Measured({"": placed}))
        for index in grid.todo():
            grid.put(index, part.at(grid.where(index)))
        said = {"title": "loss surface", "loss_function": _name(loss, batches)}
    return in_units(grid.dataset({**said, **record.of_directions(coordinates, vectors)})).drop_vars("penalty")


def _refuse(model: nn.Module, batches: object, x: Range, y: Range | None) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RequestError("model: no parameter is trainable, so none would move\n  model.requires_grad_(True)")
    if isinstance(batches, Iterator):
        raise RequestError("batches: can be gone through only once\n  accepted: a list, or a DataLoader")
    for name, axis in (("x", x), ("y", y)):
        if axis is not None and not (len(axis) == 3 and axis[0] < axis[1] and axis[2] >= 2):
            raise RequestError(
                f"{name} = {axis}\n  accepted: min, max and number of points, with min < max and two or more"
            )


def _refuse_words(directions: object, batch_norm: object) -> None:
    if not isinstance(directions, Random | Mapping):
        raise RequestError(
            f"directions = {directions!r}\n"
            "  accepted: Random(...), or by axis a tensor for every parameter that moves\n"
            "  other kinds need a run: lossviz surface"
        )
    if batch_norm not in BATCH_NORMS:
        raise RequestError(f"batch_norm = {batch_norm!r}\n  accepted: {either(BATCH_NORMS)}")


def _by_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of classes, squared error of vectors."""
    if not targets.is_floating_point():
        return cross_entropy(outputs, targets)
    if outputs.shape != targets.shape:
        raise RequestError(
            f"loss: outputs are {tuple(outputs.shape)} and targets {tuple(targets.shape)}: there is no squared error\n"
            "  give the loss, a function of both, or targets of the shape of the outputs"
        )
    return (outputs - targets).square().flatten(1).sum(dim=1)


def _name(loss: PerExample | None, batches: Iterable[tuple[Tensor, Tensor]]) -> str:
    if loss is not None:
        return "own"
    _, targets = next(iter(batches))
    return loss_name(None, regression=targets.is_floating_point())


def _given(coordinates: list[Coordinate], directions: Mapping[str, Mapping[str, Tensor]], axis: str) -> list[Tensor]:
    parts = directions.get(axis)
    if parts is None:
        raise RequestError(f"directions: has no {axis}\n  accepted: one mapping of parameters for each axis")
    shapes = {each.name: each.tensor.shape for each in coordinates}
    for name, part in parts.items():
        if name not in shapes:
            raise RequestError(
                f"directions[{axis!r}]: the network has no parameter {name}\n  there are: {', '.join(shapes)}"
            )
        if part.shape != shapes[name]:
            raise RequestError(
                f"directions[{axis!r}][{name!r}] is {tuple(part.shape)}, and the parameter {tuple(shapes[name])}"
            )
    return [
        each.like(parts[each.name]) if each.name in parts else torch.zeros_like(each.tensor) for each in coordinates
    ]


def _checked(loss: PerExample) -> PerExample:
    @wraps(loss)
    def checked(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = loss(outputs, targets)
        if losses.shape != (len(targets),):
            raise RequestError(
                f"loss: gave {tuple(losses.shape)} for {len(targets)} examples\n"
                '  accepted: one loss an example, such as torch.nn.functional.cross_entropy(..., reduction="none")'
            )
        return losses

    return checked
