"""The checkpoints in a line or plane: their own loss, where they lie, and what the plane says there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossviz.engine.checkpoint import fit
from lossviz.engine.point import undisturbed
from lossviz.engine.state import steady
from lossviz.results import variable
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.plane import LossPlane, PlainLoss
from lossviz.surface.projection import project

_QUANTITIES = {
    "x": ("orthogonal projection onto the x direction", "1"),
    "y": ("orthogonal projection onto the y direction", "1"),
    "loss": ("mean data loss at the checkpoint itself", "nat"),
    "error": ("error at the checkpoint itself", "%"),
    "plane_loss": ("mean data loss at the checkpoint's projection", "nat"),
    "distance": ("distance of the checkpoint from its projection", "1"),
    "outputs": ("largest output at the checkpoint itself in size, mean over the examples", "1"),
}


class Waypoint(NamedTuple):
    """What is found at a checkpoint.

    Attributes:
        values: of `_QUANTITIES`.
        precision: in which its own loss was taken.
    """

    values: Mapping[str, float]
    precision: str


def measure_waypoint(plane: LossPlane, checkpoint: Checkpoint, own: Checkpoint | None = None) -> Waypoint:
    """The loss of a checkpoint itself, its place, and what the plane says there.

    The former is taken by the plain path in float64: the one at the centre checks the grid.

    Args:
        plane: the line or plane; its network is left somewhere on it.
        checkpoint: to be measured.
        own: the one at the centre, which is not read again.
    """
    state = None if own is not None and checkpoint.same_file(own) else checkpoint.load(plane.objective.model)
    position, distance = project(plane.subspace, plane.theta, plane.directions, state)
    plane_loss = plane.loss(**position)
    itself, precision, outputs = _at_centre(plane) if state is None else _elsewhere(plane, state, checkpoint.path)
    losses = {"loss": itself.loss, "error": itself.error, "plane_loss": plane_loss}
    return Waypoint({**position, **losses, "distance": distance, "outputs": outputs}, precision)


def waypoint_quantities(axes: Sequence[str]) -> set[str]:
    """Names of what is found at a checkpoint, in the plane of some axes."""
    return {name for name in _QUANTITIES if name not in ("x", "y") or name in axes}


def waypoints_dataset(checkpoints: Sequence[Checkpoint], found: Sequence[Waypoint]) -> xr.Dataset:
    """Variables checkpoint_* of a result file, along the dimension `checkpoint`."""
    names = np.array([each.name for each in checkpoints], dtype=object)
    results = xr.Dataset(
        {
            f"checkpoint_{name}": variable("checkpoint", [each.values[name] for each in found], *_QUANTITIES[name])
            for name in found[0].values
        },
        coords={"checkpoint": xr.Variable("checkpoint", names, {"long_name": "step of the run, or path"})},
    )
    results.checkpoint_loss.attrs["precision"] = " or ".join(sorted({each.precision for each in found}))
    return results


def _at_centre(plane: LossPlane) -> PlainLoss:
    with steady(plane.objective.model):
        plane.centre()
        return plane.plain_loss()


def _elsewhere(plane: LossPlane, state: Mapping[str, Tensor], path: Path) -> PlainLoss:
    """At another network; what that has in common with the plane's is not copied: mostly all that is frozen."""
    model = plane.objective.model
    others = [each for name, each in model.named_parameters() if not torch.equal(state[name].to(each), each)]
    with undisturbed(model, others):
        fit(model, state, path)
        return plane.plain_loss()
