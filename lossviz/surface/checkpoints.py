"""The networks that a scan goes through, starts from and leads to: `last`, a step of the run, or a path."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from lossviz.config.reading import shipped_configurations
from lossviz.engine.checkpoint import check_fit, load_foreign, load_tensors
from lossviz.engine.setup import Setup
from lossviz.errors import RequestError
from lossviz.run import Run
from lossviz.surface.moving import Coordinate


@dataclass(frozen=True)
class Checkpoint:
    """A network on disk, read only when it is asked for.

    Attributes:
        name: `step 50` of the run, or the path as it was given.
        path: its file.
        step: its step in the run; None where it was given as a path.
        key: where the configuration names it, for errors.
    """

    name: str
    path: Path
    step: int | None = None
    key: str = field(default="", compare=False)

    def load(self, model: nn.Module) -> dict[str, Tensor]:
        """Its parameters and buffers on the CPU.

        Raises:
            RequestError: there is no such file, or it belongs to another network than `model`.
            WorkError: it was cut short or altered.
        """
        try:
            tensors = load_foreign(self.path) if self.step is None else load_tensors(self.path)
            return check_fit(model, tensors, self.path)
        except RequestError as error:
            raise RequestError(f"{self.key}: {error}" if self.key else str(error)) from error

    def same_file(self, other: "Checkpoint") -> bool:
        """Whether two names mean one file."""
        return self.path.resolve() == other.path.resolve()


def scanned_checkpoint(setup: Setup) -> Checkpoint:
    """What `surface.checkpoint` means.

    Raises:
        RequestError: it is not there; says which command makes it.
    """
    return find_checkpoint(setup, setup.config.surface.checkpoint, "surface.checkpoint")


def run_checkpoints(run: Run) -> list[Checkpoint]:
    """All checkpoints of a run, in order of step."""
    return [_of_step(run, step) for step in run.checkpoint_steps]


def find_checkpoint(setup: Setup, wanted: str | int, key: str) -> Checkpoint:
    """The checkpoint that a configuration names.

    Args:
        setup: whose run is meant.
        wanted: last, a step, or a path.
        key: where the configuration says so, for errors.

    Raises:
        RequestError: it is not there; says which command makes it.
    """
    if isinstance(wanted, str) and wanted != "last":
        if not Path(wanted).is_file():
            raise RequestError(f"{key} = {wanted}: there is no such file")
        return Checkpoint(wanted, Path(wanted), key=key)
    steps = setup.run.checkpoint_steps
    if not steps:
        name = setup.config.name if setup.config.name in shipped_configurations() else "CONFIG"
        advice = setup.run.command("train", name, setup.allowed)
        raise RequestError(
            f"{key} = {wanted}: {setup.run.folder} has no checkpoint to scan\n  make one: lossviz {advice}"
        )
    if wanted != "last" and wanted not in steps:
        there = ", ".join(f"{each:,}" for each in steps)
        raise RequestError(
            f"{key} = {wanted}: {setup.run.folder} has no checkpoint of that step\n  accepted: last, {there}, or a path"
        )
    return _of_step(setup.run, steps[-1] if wanted == "last" else int(wanted))


def _of_step(run: Run, step: int) -> Checkpoint:
    return Checkpoint(f"step {step}", run.checkpoint_file(step), step)


@torch.no_grad()
def difference(
    model: nn.Module,
    coordinates: Sequence[Coordinate],
    moved: AbstractSet[str],
    checkpoint: Checkpoint,
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """theta_c - theta, one tensor a coordinate, zero for what is not moved.

    theta_c is the checkpoint as the network would hold it, so that theta + 1 * difference is theta_c up to one
    rounding.

    Args:
        model: the network, at theta.
        coordinates: of it.
        moved: names of those that count.
        checkpoint: theta_c.
        dtype: in which to subtract; the network's own unless given.
    """
    state, apart = checkpoint.load(model), []
    for each in coordinates:
        part = torch.zeros_like(each.tensor, dtype=dtype)
        if each.name in moved:
            part.copy_(state[each.name].to(each.tensor.dtype)).sub_(each.tensor)
        apart.append(part)
    return apart
