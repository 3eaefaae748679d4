"""The checkpoints in a line or plane: their own loss, where they lie, and what the plane says there."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from lossviz.engine.checkpoint import fit
from lossviz.engine.point import undisturbed
from lossviz.progress import Track
from lossviz.results import variable
from lossviz.signals import StopRequest
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.plane import LossPlane
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
    plane: LossPlane, checkpoints: Sequence[Checkpoint], track: Track, stop: StopRequest
) -> xr.Dataset:
    """Variables checkpoint_* of a result file, along the dimension `checkpoint`.

    Losses of the checkpoints themselves are taken by the plain path in float64: the one at the centre checks the grid.

    Args:
        plane: the line or plane; its network is left as it was.
        checkpoints: the scan's own among them.
        track: told of every one.
        stop: asked between them.
    """
    model, rows, precisions = plane.objective.model, [], set()
    for each in checkpoints:
        state = each.load(model)
        position, distance = project(plane.subspace, plane.theta, plane.directions, state)
        plane_loss = plane.loss(**position)
        with undisturbed(model, frozen_too=True):
            fit(model, state, each.path)
            own, precision, outputs = plane.plain_loss()
        precisions.add(precision)
        losses = {"loss": own.loss, "error": own.error, "plane_loss": plane_loss}
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
