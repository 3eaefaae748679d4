"""A tiny experiment, ways to run it inside this process, and what is compared of the runs that it leaves."""

import contextlib
import hashlib
import io
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from lossviz import cli
from lossviz.config import read
from lossviz.progress import Report
from lossviz.results import load_results
from lossviz.run import Run, run_of
from lossviz.setup import Setup, prepare
from lossviz.signals import StopRequest

# Networks this small gain nothing from a second thread, and wait for it where the machine is busy.
torch.set_num_threads(1)
QUIET = Report(quiet=True)

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits", "examples": 40},
    "model": {"name": "vgg", "depth": 11, "width": 0.03, "classifier": [8]},
    "train": {"steps": 12, "batch_size": 8, "lr": 0.05, "eval_every": 6, "checkpoint_every": 4, "eval_examples": 20},
    "probe": {"every": 3, "lengths": [0.1, 0.2]},
    "surface": {"x": [-1, 1, 3], "y": [0, 1, 2], "data": {"examples": 20}},
}


def write(folder: Path, **sections: Any) -> Path:
    """The tiny experiment as a YAML file, with some keys of its sections changed."""
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in TINY.items()}
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def setup(folder: Path, out: str = "runs", **sections: Any) -> Setup:
    """The tiny experiment, ready; its run lies in a folder called `out`."""
    (config,) = read(str(write(folder, **sections)))
    return prepare(config, run_of(config, folder / out), "cpu")


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


def lossviz(*arguments: str | Path) -> Answer:
    """One `lossviz ARGUMENTS` inside this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.app([str(argument) for argument in arguments], prog_name="lossviz")
        except SystemExit as end:
            return Answer(int(end.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command line program ends with an exit status")


class Interrupter:
    """An observer that measures nothing and asks the training to stop before a certain step."""

    def __init__(self, stop: StopRequest, at: int) -> None:
        self.stop, self.at = stop, at

    def due(self, step: int) -> bool:
        if step == self.at:
            self.stop.number = signal.SIGTERM
        return False

    def observe(self, step: int, *present: Any, **more: Any) -> None:
        raise AssertionError(f"step {step} was never due", present, more)

    def save(self) -> None:
        pass


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the checksum of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def checkpoints(run: Run) -> dict[str, bytes]:
    """The bytes of every checkpoint."""
    return {path.name: path.read_bytes() for path in sorted((run.folder / "checkpoints").glob("step-*"))}


def results(path: Path) -> dict[str, bytes]:
    """The bytes of every array of a result file but the times; NaN and infinity count as themselves."""
    found = load_results(path)
    return {
        str(name): np.ascontiguousarray(found[name].values).tobytes() for name in found.variables if name != "seconds"
    }


def everything(run: Run) -> dict[str, object]:
    """All numbers of a run: checkpoints byte by byte, every result array, and the state to resume from."""
    files = [path for path in (run.train_file, run.probe_file, *run.surface_files) if path.exists()]
    resume = run.resume_file
    state = torch.load(resume, weights_only=True) if resume.exists() else {}
    return {
        "checkpoints": checkpoints(run),
        "resume": flat(state),
        "directions": {path.name: path.read_bytes() for path in run.folder.glob("directions-*")},
        **{path.name: results(path) for path in files},
    }


def flat(node: object) -> object:
    """A saved state with tensors as bytes, so that == compares it bitwise."""
    if isinstance(node, torch.Tensor):
        return str(node.dtype), tuple(node.shape), node.numpy().tobytes()
    if isinstance(node, dict):
        return {key: flat(value) for key, value in node.items()}
    return [flat(value) for value in node] if isinstance(node, list | tuple) else node


def same_bytes(tensors: Mapping[str, torch.Tensor]) -> dict[str, object]:
    """Tensors as dtype, shape and bytes, in the order of their names."""
    return {name: flat(tensors[name].detach().contiguous()) for name in sorted(tensors)}
