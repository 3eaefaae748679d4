"""What a folder of runs holds, in pieces small enough to say which of them are wrong and which are lost."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from lossviz.errors import LossvizError, first_line
from lossviz.files import read_sealed
from lossviz.results import load_results
from tests.faults import tiny

Pieces = dict[str, object]

# Written whole and compared byte by byte; figures have no dates, so the same results give the same bytes.
BYTES = {".png", ".md", ".h5", ".html"}


def pieces(folder: Path, without: Collection[Path] = ()) -> Pieces:
    """Every number below a folder: steps of a training, measured steps, points of scans, checkpoints, figures.

    Times are left out. A file that cannot be read is a piece of its own, which no untouched run has.

    Args:
        folder: that is searched.
        without: files that are not looked at.
    """
    found: Pieces = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and each not in without):
        name = str(path.relative_to(folder))
        try:
            found |= {f"{name} {part}": value for part, value in _parts(path)}
        except LossvizError as error:
            found[name] = first_line(error)
    return found


def wrong(found: Pieces, expected: Pieces) -> list[str]:
    """Names of pieces that differ from those of the untouched run, or that it does not have."""
    return [name for name, value in found.items() if expected.get(name) != value]


def lost(found: Pieces, known: Pieces) -> list[str]:
    """Names of pieces that were known and are not there."""
    return [name for name in known if name not in found]


def _parts(path: Path) -> Iterator[tuple[str, object]]:
    if path.suffix == ".nc":
        yield from _rows(load_results(path))
    elif path.name == "resume.pt":
        state = torch.load(path, weights_only=True) if read_sealed(path, "") else {}
        if _is_last(path, state["step"]):  # earlier states are overwritten: what they lead to is what counts
            yield "state", tiny.flat(state)
    elif path.name.startswith(("step-", "directions-")) or path.suffix in BYTES:
        yield "bytes", path.read_bytes()


def _is_last(path: Path, step: int) -> bool:
    return path.with_name(f"step-{step:08d}.safetensors").exists() and step == _planned(path.parents[1] / "train.nc")


def _planned(file: Path) -> int:
    return int(load_results(file).attrs.get("steps", -1)) if file.exists() else -1


def _rows(results: xr.Dataset) -> Iterator[tuple[str, object]]:
    """What belongs to one step or point of a result file, and what belongs to none."""
    if "status" in results:
        dims = results["status"].dims
        known = np.argwhere(results["status"].values > 0)
        if not len(known):
            return  # such a scan may become any other one, and what it has beside the grid is measured again
    else:
        dims = ()
        known = np.empty((0, 0), int)
    for index in known:
        here = results.isel(dict(zip(dims, index, strict=True)))
        yield f"point {tuple(map(int, index))}", _bytes(here[[name for name in results if dims <= results[name].dims]])
    for axis in ("step", "eval_step"):
        for at, step in enumerate(results[axis].values.tolist() if axis in results.dims else ()):
            names = [name for name in results if axis in results[name].dims]
            yield f"{axis} {step}", _bytes(results[names].isel({axis: at}))
    for name in results.data_vars:
        if not {*dims, "step", "eval_step"} & {*results[name].dims}:
            yield str(name), results[name].values.tobytes()


def _bytes(results: xr.Dataset) -> dict[str, bytes]:
    arrays = {str(name): np.ascontiguousarray(each.values) for name, each in results.variables.items()}
    return {name: each.tobytes() for name, each in arrays.items() if name != "seconds"}
