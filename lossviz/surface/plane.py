"""The line or plane that a configuration means: its directions, and the checkpoints to mark in it."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from lossviz.config.directions import File, Gradient, Hessian, Pca, Random, Toward
from lossviz.engine.objective import Objective
from lossviz.engine.point import squared_norm
from lossviz.engine.setup import Setup
from lossviz.errors import RequestError
from lossviz.surface.checkpoints import Checkpoint, find_checkpoint, run_checkpoints, scanned_checkpoint
from lossviz.surface.derivatives import descent, eigenvectors
from lossviz.surface.directions import random_direction
from lossviz.surface.moving import Coordinate, parameters_of, selected
from lossviz.surface.pca import principal
from lossviz.surface.stored import stored
from lossviz.surface.toward import orthonormalised, toward

Names = AbstractSet[str]
Range = tuple[float, float]
UNIT: Range = (-1.0, 1.0)
KEY = "surface.directions.checkpoints"


@dataclass(frozen=True)
class Plane:
    """Where a scan goes.

    Attributes:
        directions: by axis, `x` and perhaps `y`: one tensor a coordinate.
        moved: names of the coordinates that may move.
        ranges: what bounds of `auto` mean, by axis.
        facts: what else is known of the directions: x_explained_variance, x_eigenvalue, ...
        waypoints: checkpoints to be marked; the scan's own is among them only where it is a part of the path.
        ones: whether 1 is another network, and should be among the points of the grid as 0 is.
        is_path: whether the waypoints of the run (for pca: all of them) follow one another.
    """

    directions: dict[str, list[Tensor]]
    moved: Names
    ranges: dict[str, Range]
    facts: dict[str, float] = field(default_factory=dict)
    waypoints: list[Checkpoint] = field(default_factory=list)
    is_path: bool = False
    ones: bool = False


def find_plane(setup: Setup, objective: Objective, coordinates: Sequence[Coordinate]) -> Plane:
    """What `surface.directions` means for a network that holds the scan's checkpoint; the network is not changed.

    Args:
        setup: whose run, data and configuration count.
        objective: of the network.
        coordinates: of the network.

    Raises:
        RequestError: a checkpoint or file is missing or does not fit, nothing moves, or a direction is zero.
        WorkError: an eigenvalue has not converged.
    """
    wanted, model = setup.config.surface.directions, objective.model
    if isinstance(wanted, File):
        plane = _file(setup, model, coordinates, wanted)
        _refuse_zero(coordinates, plane)
        return _with_path(setup, plane)
    moved = selected(coordinates, wanted)
    if isinstance(wanted, Toward):
        plane = _toward(setup, model, coordinates, moved, wanted)
    elif isinstance(wanted, Pca):
        plane = _pca(setup, model, coordinates, moved, wanted)
    elif isinstance(wanted, Hessian):
        plane = _hessian(setup, objective, coordinates, moved, wanted)
    elif isinstance(wanted, Gradient):
        plane = _gradient(setup, objective, coordinates, moved, wanted)
    else:
        plane = _random(setup, coordinates, moved, wanted)
    _refuse_zero(coordinates, plane)
    return _with_path(setup, plane)


def _file(setup: Setup, model: nn.Module, coordinates: Sequence[Coordinate], wanted: File) -> Plane:
    axes = _axes(setup)
    found = stored(model, coordinates, Path(wanted.path), axes)
    directions = dict(zip(axes, found.directions, strict=True))
    parts = zip(coordinates, *directions.values(), strict=True)
    moved = {each.name for each, *those in parts if any(part.any() for part in those)}
    facts = {"unused_statistics": float(len(found.unused))} if found.unused else {}
    return Plane(directions, moved, dict.fromkeys(axes, UNIT), facts)


def _random(setup: Setup, coordinates: Sequence[Coordinate], moved: Names, wanted: Random) -> Plane:
    axes = _axes(setup)
    vectors = {axis: random_direction(coordinates, moved, wanted.normalize, wanted.seed, axis) for axis in axes}
    return Plane(vectors, moved, dict.fromkeys(axes, UNIT))


def _toward(setup: Setup, model: nn.Module, coordinates: Sequence[Coordinate], moved: Names, wanted: Toward) -> Plane:
    checkpoints = [find_checkpoint(setup, each, KEY) for each in wanted.checkpoints]
    vectors = toward(model, coordinates, moved, checkpoints)
    third = (0.0, 1.0)
    if wanted.orthonormalize and len(vectors) == 2:
        vectors[1], third = orthonormalised(coordinates, *vectors)
    ranges = {"x": _around([0, 1, third[0]], margin=0.5), "y": _around([0, third[1]], margin=0.5)}
    return Plane(dict(zip(_axes(setup), vectors, strict=True)), moved, ranges, waypoints=checkpoints, ones=True)


def _pca(setup: Setup, model: nn.Module, coordinates: Sequence[Coordinate], moved: Names, wanted: Pca) -> Plane:
    if wanted.checkpoints == "all":
        path = run_checkpoints(setup.run)
    else:
        path = [find_checkpoint(setup, each, KEY) for each in wanted.checkpoints]
        _refuse_twice(path)
    own, axes = scanned_checkpoint(setup), _axes(setup)
    others = [each for each in path if not each.same_file(own)]
    found = principal(model, coordinates, moved, others, len(axes))
    return Plane(
        directions=dict(zip(axes, found.directions, strict=True)),
        moved=moved,
        ranges={axis: _around([0, *found.places[:, i].tolist()], margin=0.2) for i, axis in enumerate(axes)},
        facts={f"{axis}_explained_variance": share for axis, share in zip(axes, found.explained, strict=True)},
        waypoints=path,
    )


def _hessian(
    setup: Setup, objective: Objective, coordinates: Sequence[Coordinate], moved: Names, wanted: Hessian
) -> Plane:
    axes, batches = _axes(setup), _batches(setup, wanted.examples)
    values, vectors = eigenvectors(objective, coordinates, moved, batches, wanted.eigenvectors[: len(axes)])
    facts = {f"{axis}_eigenvalue": value for axis, value in zip(axes, values, strict=True)}
    return Plane(dict(zip(axes, vectors, strict=True)), moved, dict.fromkeys(axes, UNIT), facts)


def _gradient(
    setup: Setup, objective: Objective, coordinates: Sequence[Coordinate], moved: Names, wanted: Gradient
) -> Plane:
    directions = {"x": descent(objective, coordinates, moved, _batches(setup, wanted.examples))}
    if "y" in _axes(setup):
        directions["y"] = random_direction(coordinates, moved, wanted.normalize, wanted.seed, "y")
    lr = setup.config.train.lr if setup.config.train else 0.1
    return Plane(directions, moved, {"x": (-lr, 4 * lr), "y": UNIT})


def _with_path(setup: Setup, plane: Plane) -> Plane:
    """The plane with what `surface.trajectory` asks for."""
    wanted, pca = setup.config.surface.trajectory, isinstance(setup.config.surface.directions, Pca)
    if pca:
        return replace(plane, is_path=True) if wanted else replace(plane, waypoints=[])
    if wanted is not True:
        return plane
    path = run_checkpoints(setup.run)
    if not path:
        raise RequestError(
            f"surface.trajectory = true: {setup.run.folder} has no checkpoint of its own\n"
            "  the path is that of a training: lossviz train makes it"
        )
    apart = [each for each in plane.waypoints if not any(each.same_file(other) for other in path)]
    return replace(plane, waypoints=[*apart, *path], is_path=True)


def _axes(setup: Setup) -> tuple[str, ...]:
    return ("x", "y") if setup.config.surface.y else ("x",)


def _batches(setup: Setup, examples: int | str) -> Iterator[tuple[Tensor, Tensor]]:
    """Training examples of the loss whose derivatives are directions."""
    size = setup.config.surface.batch_size
    split = setup.data.train.choose(examples, "stratified", setup.config.seed, "surface.directions.examples")
    return split.batches(setup.backend.evaluation_batch if size == "auto" else size)


def _around(places: Sequence[float], margin: float) -> Range:
    """From the least to the greatest, with a margin in shares of their distance."""
    low, high = min(places), max(places)
    return low - margin * (high - low), high + margin * (high - low)


def _refuse_twice(checkpoints: Sequence[Checkpoint]) -> None:
    for i, each in enumerate(checkpoints):
        for other in checkpoints[:i]:
            if each.same_file(other):
                raise RequestError(f"{KEY}: {other.name} and {each.name} are one file\n  name each only once")


def _refuse_zero(coordinates: Sequence[Coordinate], plane: Plane) -> None:
    for axis, vector in plane.directions.items():
        # One that is not finite, through a network that diverged, has results: losses that are not.
        if float(squared_norm(parameters_of(coordinates, vector))) == 0:
            raise RequestError(
                f"surface.directions: the direction of {axis} is zero in every parameter that may move\n"
                "  move others (ignore, parameters), or take another kind"
            )
