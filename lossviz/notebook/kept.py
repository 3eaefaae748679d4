"""A surface in memory and, if a person wants it, in a file that is saved while it grows and resumed."""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr
from torch import nn

from lossviz.data.batch import Batch, digest
from lossviz.engine.curvature import attributes_of_products
from lossviz.engine.state import tensors_of
from lossviz.errors import RequestError, refuse
from lossviz.progress import Track
from lossviz.results import DONE, TO_DO, in_units, load_results, save_results
from lossviz.surface.directions.sources import DirectionSet
from lossviz.surface.file import Attributes
from lossviz.surface.grid import Grid
from lossviz.surface.plane import LossPlane

SECONDS_BETWEEN_SAVES = 2.0
# What tells the surface of one network, loss and set of examples from another, as far as it can be read off them.
IDENTITY = {
    "network_sha256": "another network",
    "batches_sha256": "other batches",
    "directions_sha256": "other directions",
    "loss_function": "another kind of loss",
    "batch_norm": "another batch_norm",
}
# Of a loss, beyond what another machine, batch size or number of threads changes.
ANOTHER_LOSS = 1e-3


@dataclass
class KeptSurface:
    """The points of a surface.

    Attributes:
        grid: what is known of them.
        attributes: of the result.
        waypoints: variables that it has beside the grid.
        file: where it is saved; None for memory alone.
    """

    grid: Grid
    attributes: Attributes
    waypoints: xr.Dataset = field(default_factory=xr.Dataset)
    file: Path | None = None

    def dataset(self) -> xr.Dataset:
        """The surface so far."""
        return in_units(self.grid.dataset(self.attributes).merge(self.waypoints)).drop_vars("penalty")

    def save(self) -> None:
        """Write the file, if there is one."""
        if self.file is not None:
            save_results(self.file, self.dataset())

    def resume(self, plane: LossPlane) -> None:
        """Take over what the file holds of this surface, on this grid or on one that this one holds.

        What cannot be read off a loss shows in its numbers: one known point is computed again, a finite one if any is.

        Raises:
            RequestError: the file holds another surface; says in what.
        """
        if self.file is None or not self.file.exists():
            return
        saved = load_results(self.file)
        advice = "save to another file, or delete this one"
        for name, what in IDENTITY.items():
            if saved.attrs.get(name, "") != self.attributes.get(name, ""):
                refuse(str(self.file), f"holds the surface of {what}", advice=advice)
        known = Grid.of(saved)
        if list(known.axes) != list(self.grid.axes) or {*known.values, "penalty"} != {*self.grid.values}:
            refuse(str(self.file), "holds other axes, metrics or terms of the loss", advice=advice)
        known.values["penalty"] = np.zeros(known.status.shape)
        try:
            self.grid.take_over(known, str(self.file))
        except RequestError:
            accepted = "its x and y, or finer or longer ones that hold all of its points"
            refuse(str(self.file), "holds points that x and y do not have", accepted=accepted)
        finite = known.status == DONE
        for index in zip(*np.nonzero(finite if finite.any() else known.status != TO_DO), strict=True):
            place = tuple(int(i) for i in index)
            before, now = float(known.values["loss"][place]), plane.loss(**known.where(place))
            if not np.isclose(now, before, rtol=ANOTHER_LOSS, atol=0, equal_nan=True):
                where = ", ".join(f"{axis} = {value:g}" for axis, value in known.where(place).items())
                problem = f"holds another loss: {before:.6g} at {where}, and now {now:.6g}"
                refuse(str(self.file), problem, advice=advice)
            break
        names = [str(name) for name in saved.variables if str(name).startswith("checkpoint")]
        self.waypoints = saved[names]

    def compute(self, plane: LossPlane, track: Track) -> None:
        """Compute what is left to do, and save it from time to time and at the end, whatever ends it."""
        saved_at = time.monotonic()
        try:
            for index in self.grid.todo():
                self.grid.put(index, plane(**self.grid.where(index)))
                track.advance()
                if time.monotonic() - saved_at > SECONDS_BETWEEN_SAVES:
                    self.save()
                    saved_at = time.monotonic()
        finally:
            self.attributes |= plane.prefix.attributes() if plane.prefix else {}
            for network in (plane.objective.model, plane.treatment.module):
                self.attributes |= attributes_of_products(network)
            self.save()


def identity(model: nn.Module, batches: Iterable[Batch], directions: DirectionSet) -> Attributes:
    """SHA-256 of what a surface is of: the network, all batches, which are gone through for it, and the directions."""
    return {
        "network_sha256": digest(tensors_of(model)).hex(),
        "batches_sha256": hashlib.sha256(b"".join(map(digest, batches))).hexdigest(),
        "directions_sha256": directions.digest or digest(dict(directions.vectors)).hex(),
    }
