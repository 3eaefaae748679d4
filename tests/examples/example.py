"""One folder of examples/: its page, its own code, and what lossviz makes of it, small."""

import ast
import importlib.util
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from lossviz.engine.checkpoint import load_tensors
from lossviz.results import load_results
from tests.faults.tiny import lossviz

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/README.md"))


def code_of(folder: Path) -> Path:
    """The file of the user's code."""
    (code,) = folder.glob("*.py")
    return code


def own_lines(text: str) -> int:
    """Lines of code that a person writes: all but imports, the docstring, comments and blank lines."""
    tree = ast.parse(text)
    passed: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if ast.get_docstring(tree) is not None:
        passed.append(tree.body[0])
    skipped = {number for node in passed for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in skipped for n, line in lines)


def fenced(page: Path, language: str) -> list[str]:
    """The blocks of code on a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Scan:
    """A plane of 3 x 3 points around a network that was trained for some steps.

    Attributes:
        code: the module of the user's code.
        folder: of the run.
        file: surface-main.nc.
    """

    code: ModuleType
    folder: Path
    file: xr.Dataset

    def directions(self) -> dict[str, dict[str, torch.Tensor]]:
        """By axis and parameter."""
        found: dict[str, dict[str, torch.Tensor]] = {"x": {}, "y": {}}
        for name, tensor in load_tensors(self.folder / "directions-main.safetensors").items():
            axis, parameter = name.split("/", 1)
            found[axis][parameter] = tensor
        return found

    def at(self, model: nn.Module, x: float, y: float) -> nn.Module:
        """The user's network at a point, in float64 and eval mode: theta + x d1 + y d2, parameter by parameter."""
        (path,) = [file for file in (self.folder / "checkpoints").iterdir() if file.name.endswith("2.safetensors")]
        saved, directions = load_tensors(path), self.directions()
        parameters = dict(model.double().eval().requires_grad_(False).named_parameters())
        for name in saved.keys() & parameters.keys():
            parameters[name].data.copy_(saved[name])
        for axis, step in (("x", x), ("y", y)):
            for name, direction in directions[axis].items():
                parameters[name].data.add_(step * direction.double())
        return model

    def loss(self, x: float, y: float, term: str = "") -> float:
        """That of the file at a point."""
        return float(self.file[f"loss{term}"].sel(x=x, y=y))


def loaded(code: Path) -> ModuleType:
    """The user's code, imported from where it lies."""
    spec = importlib.util.spec_from_file_location(code.stem, code)
    assert spec and spec.loader
    module = sys.modules[code.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copied(name: str) -> ModuleType:
    """An example in the working directory, as one who tries it has it; its code."""
    for path in (code_of(EXAMPLES / name), EXAMPLES / name / f"{name}.yaml"):
        if path.exists():
            shutil.copy(path, Path())
    return loaded(code_of(Path()))


def scanned(name: str, variant: str = "", *, batch_size: int = 8) -> Scan:
    """An example of the working directory after its three commands, with two steps and nine points."""
    code = code_of(Path())
    variant = variant or name
    allowed = ("--allow", code.name, "--variant", variant)
    small = {"train.steps": 2, "train.batch_size": batch_size, "surface.x": [-1, 1, 3], "surface.y": [-1, 1, 3]}
    settings = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    for command in ("train", "surface"):
        answer = lossviz(command, f"{name}.yaml", *allowed, *settings)
        assert answer.status == 0, answer.err
    folder = Path("runs", name, variant)
    return Scan(sys.modules[code.stem], folder, load_results(folder / "surface-main.nc"))


def run_page(name: str) -> dict[str, Any]:
    """What the last block of Python on the page leaves, run in the working directory; planes of 3 x 3 points."""
    block = re.sub(r"=\(-1, 1, \d+\)", "=(-1, 1, 3)", fenced(EXAMPLES / name / "README.md", "python")[-1])
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    surface = namespace["surface"]
    assert surface.loss.shape == (3, 3) and np.isfinite(surface.loss).all()
    return namespace
