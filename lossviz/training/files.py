"""The files that a training writes, and that a replay compares itself with."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lossviz.engine.checkpoint import load_tensors, of_step, of_steps, save_tensors
from lossviz.errors import Refusal, WorkError
from lossviz.results import load_results, save_results
from lossviz.run import Run
from lossviz.training.curves import Curves


class Files(Protocol):
    """The loop's door to the disk: a training writes there, a replay compares.

    Attributes:
        doing: what a person reads beside the progress.
        replays: whether all of this is on disk already.
        resume_file: the file of the state to resume from.
        titles: whose files they are; see `Run.titles`.
    """

    @property
    def doing(self) -> str: ...
    @property
    def replays(self) -> bool: ...
    @property
    def resume_file(self) -> Path: ...
    @property
    def titles(self) -> tuple[str, ...]: ...

    def restore(self, curves: Curves, step: int | None) -> None:
        """Give the curves what is known before a step; None: nothing was trained yet."""

    def checkpoint(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Keep the tensors of a step."""

    def write(self, curves: Curves) -> None:
        """Keep the curves."""

    def close(self) -> None:
        """Called at the end."""


class TrainingFiles:
    """Writes train.nc and the checkpoints of a run."""

    doing, replays = "training", False

    def __init__(self, run: Run) -> None:
        self.run, self.titles = run, run.titles
        self.resume_file = run.resume_file

    def restore(self, curves: Curves, step: int | None) -> None:
        """Take the curves up to a step from train.nc."""
        if step is not None:
            curves.rewind(load_results(self.run.train_file, self.titles), step)

    def checkpoint(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Write the checkpoint of a step."""
        save_tensors(self.run.checkpoint_file(step), dict(state), of_step(self.titles[0], step))

    def write(self, curves: Curves) -> None:
        """Write train.nc."""
        save_results(self.run.train_file, curves.dataset())

    def close(self) -> None:
        """Leave everything where it is."""


class ReplayDepartedError(WorkError):
    """A replay is not the training: its numbers since the last checkpoint that agreed are those of another one."""


class ReplayFiles:
    """Compares a replayed training with its checkpoints, bitwise, and writes nothing.

    Args:
        run: its folder.
        end: the last step of the replay.
        agreed: called when the replay is at a checkpoint, bitwise.
    """

    doing, replays = "replaying", True

    def __init__(self, run: Run, end: int, agreed: Callable[[], object] = lambda: None) -> None:
        self.run, self.titles, self.end, self.agreed = run, run.titles, end, agreed
        self.resume_file = run.replay_file

    def restore(self, curves: Curves, _step: int | None) -> None:
        """Take the evaluations, which a schedule may depend on, from train.nc."""
        if self.run.train_file.exists():
            curves.recall(load_results(self.run.train_file, self.titles), self.end)

    def checkpoint(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Compare the tensors of a step with its checkpoint, if there is one.

        Raises:
            ReplayDepartedError: they differ; the state of the replay, from which it would go on, is gone.
        """
        path = self.run.checkpoint_file(step)
        for name, saved in load_tensors(path, of_steps(self.titles, step)).items() if path.exists() else ():
            if not torch.allclose(saved, state[name].cpu(), rtol=0, atol=0, equal_nan=True):
                problem = (
                    f"the replay departs from the training before step {step} (first in {name}): "
                    "another machine, device, thread count or version computes other last digits"
                )
                advice = (
                    f"measure at the checkpoints instead: lossviz probe {self.run.folder}; or train again with --fresh"
                )
                self.close()
                raise ReplayDepartedError(Refusal(str(path), problem, advice=advice))
        if path.exists():
            self.agreed()

    def write(self, _curves: Curves) -> None:
        """Leave train.nc as it is."""

    def close(self) -> None:
        """Remove the state of the replay."""
        self.resume_file.unlink(missing_ok=True)
