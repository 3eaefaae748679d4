"""The checkpoints in a line or plane: their own loss, where they lie, and what the plane says there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossviz.engine.checkpoint import fit
from lossviz.engine.point import undisturbed
from lossviz.engine.state import steady
from lossviz.progress import Track
from lossviz.results import variable
from lossviz.signals import StopRequest
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


def measure_waypoints(
    plane: LossPlane, checkpoints: Sequence[Checkpoint], track: Track, stop: StopRequest, own: Checkpoint | None = None
) -> xr.Dataset:
    """Variables checkpoint_* of a result file, along the dimension `checkpoint`.

    Losses of the checkpoints themselves are taken by the plain path in float64: the one at the centre checks the grid.

    Args:
        plane: the line or plane; its network is left somewhere on it.
        checkpoints: the scan's own among them.
        track: told of every one.
        stop: asked between them.
        own: the one at the centre, which is not read again.
    """
    model, rows, precisions = plane.objective.model, [], set()
    for each in checkpoints:
        state = None if own is not None and each.same_file(own) else each.load(model)
        position, distance = project(plane.subspace, plane.theta, plane.directions, state)
        plane_loss = plane.loss(**position)
        itself, precision, outputs = _at_centre(plane) if state is None else _elsewhere(plane, state, each.path)
        precisions.add(precision)
        losses = {"loss": itself.loss, "error": itself.error, "plane_loss": plane_loss}
        rows.append({**position, **losses, "distance": distance, "outputs": outputs})
        track.advance()
        stop.obey()
    names = np.array([each.name for each in checkpoints], dtype=object)
    found = xr.Dataset(
        {
            f"checkpoint_{name}": variable("checkpoint", [row[name] for row in rows], *_QUANTITIES[name])
            for name in rows[0]
        },
        coords={"checkpoint": xr.Variable("checkpoint", names, {"long_name": "step of the run, or path"})},
    )
    found.checkpoint_loss.attrs["precision"] = " or ".join(sorted(precisions))
    return found


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
