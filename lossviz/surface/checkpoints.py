"""The networks that a scan goes through, starts from and leads to: `last`, a step of the run, or a path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from lossviz.engine.checkpoint import check_fit, load_tensors, of_steps
from lossviz.engine.foreign import load_foreign
from lossviz.errors import RequestError, refuse
from lossviz.run import Run


@dataclass(frozen=True)
class Checkpoint:
    """A network on disk, read only when it is asked for, or one in memory.

    Attributes:
        name: `step 50` of the run, or the path as it was given.
        path: its file.
        step: its step in the run; None where it was given as a path.
        key: where the configuration names it, for errors.
        titles: whose step it is; see `Run.titles`.
        state: its tensors by name, where it is in memory and has no file.
    """

    name: str
    path: Path
    step: int | None = None
    key: str = field(default="", compare=False)
    titles: tuple[str, ...] = field(default=(), compare=False)
    state: Mapping[str, Tensor] | None = field(default=None, compare=False, repr=False)

    def load(self, model: nn.Module) -> dict[str, Tensor]:
        """Its parameters and buffers.

        Raises:
            RequestError: there is no such file, or it belongs to another network than `model`.
            WorkError: it was cut short or altered.
        """
        try:
            return check_fit(model, self._tensors(), self.path)
        except RequestError as error:
            raise RequestError(*(each.at(self.key) for each in error.refusals)) from error

    def same_file(self, other: "Checkpoint") -> bool:
        """Whether two names mean one file, or one network in memory."""
        return self.state is other.state and self.path.resolve() == other.path.resolve()

    def _tensors(self) -> Mapping[str, Tensor]:
        if self.state is not None:
            return self.state
        if self.step is None:
            return load_foreign(self.path)
        return load_tensors(self.path, of_steps(self.titles, self.step))


def run_checkpoints(run: Run) -> list[Checkpoint]:
    """All checkpoints of a run, in order of step."""
    titles = run.titles
    return [_of_step(run, step, titles) for step in run.checkpoint_steps]


def find_checkpoint(run: Run, wanted: str | int, key: str, training: str) -> Checkpoint:
    """The checkpoint that a configuration names.

    Args:
        run: whose checkpoints are meant.
        wanted: last, a step, or a path.
        key: where the configuration says so, for errors.
        training: what follows `lossviz` on the command line that makes checkpoints.

    Raises:
        RequestError: it is not there; says which command makes it.
    """
    if isinstance(wanted, str) and wanted != "last":
        if not Path(wanted).exists():
            refuse(key, "there is no such file or folder", given=Path(wanted))
        return Checkpoint(wanted, Path(wanted), key=key)
    steps = run.checkpoint_steps
    if not steps:
        advice = f"make one: lossviz {training}"
        refuse(key, f"{run.folder} has no checkpoint to scan", given=wanted, advice=advice)
    if wanted != "last" and wanted not in steps:
        there = ", ".join(f"{each:,}" for each in steps)
        problem = f"{run.folder} has no checkpoint of that step"
        refuse(key, problem, given=wanted, accepted=f"last, {there}, or a path")
    return _of_step(run, steps[-1] if wanted == "last" else int(wanted), run.titles)


def _of_step(run: Run, step: int, titles: tuple[str, ...]) -> Checkpoint:
    return Checkpoint(f"step {step}", run.checkpoint_file(step), step, titles=titles)
