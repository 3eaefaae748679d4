"""Files of the official tool of Li et al. 2018 (github.com/tomgoldstein/loss-landscape), read and written.

Its surface files have the datasets xcoordinates, ycoordinates, dir_file, train_loss, train_acc (and test_loss,
test_acc, min_eig, max_eig). It creates arrays of the shape (x, y) and fills them in the flat order of
numpy.meshgrid(x, y), y slow and x fast: only that order, never the shape, says which point a value belongs to. A value
of -1 is still to be computed. Its direction files have the groups xdirection and ydirection with the datasets 0, 1,
..., one a tensor.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lossviz.errors import Refusal, RequestError, first_line, refuse
from lossviz.files import MARK, check_seal, read, seal, shown
from lossviz.results import DONE, NOT_FINITE, STATUS, SURFACE, TO_DO, SurfaceResults, variable
from lossviz.results.surface import LONG_NAMES

Floats = NDArray[np.float64]

SUFFIX = ".h5"
_AXES = {"y": "ycoordinates", "x": "xcoordinates"}
_LOSS = {"train": ("train_loss", "train_acc"), "test": ("test_loss", "test_acc")}
_EIGENVALUES = {"hessian_min": "min_eig", "hessian_max": "max_eig"}
# What its arrays hold before a point is computed.
_NOT_COMPUTED = {"min_eig": 1.0}
# What HDF5 raises for a damaged file, also when only a part of it is read: each function another one.
_DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


def read_official_surface(path: Path) -> xr.Dataset:
    """Read a surface of the official tool, in the terms of docs/results.md.

    Losses are as they are; errors are 100 - accuracy; a point whose loss and accuracy are -1 is still to do. What the
    file does not say (standard errors, times) is NaN. Nor does it say of which loss: losses have the unit 1.

    Raises:
        RequestError: there is no such file, or it is not such a surface.
    """
    found = _datasets(path)
    axes = {axis: found[name] for axis, name in _AXES.items() if name in found}
    splits = [split for split, (loss, _) in _LOSS.items() if loss in found]
    if "x" not in axes or not splits:
        there = ", ".join(sorted(found)) or "no array of numbers"
        advice = f"needed: xcoordinates, and train_loss or test_loss\nthere is: {there}"
        refuse(shown(path), "is not a surface of the official tool", advice=advice)
    grids = {name: _by_rows(path, name, values, axes) for name, values in found.items() if name not in _AXES.values()}
    variables: dict[str, xr.Variable] = {}
    status = np.full([len(axis) for axis in axes.values()], DONE, np.int8)
    for split, prefix in zip(splits, ("", "test_"), strict=False):
        loss, error, missing = _loss_and_error(grids, split)
        status[missing] = TO_DO
        status[~missing & ~np.isfinite(loss) & (status != TO_DO)] = NOT_FINITE
        variables |= _described(tuple(axes), prefix, loss, error)
    for ours, theirs in _EIGENVALUES.items():
        if theirs in grids:
            values = np.where(grids[theirs] == _NOT_COMPUTED.get(theirs, -1.0), np.nan, grids[theirs])
            variables[ours] = variable(tuple(axes), values, f"{ours[8:]}imum eigenvalue of the Hessian", "1")
    if (status == TO_DO).all():
        refuse(shown(path), "holds no point that was computed (all are -1)")
    return xr.Dataset(
        {
            **variables,
            "status": variable(tuple(axes), status, STATUS, "1"),
            "seconds": variable(tuple(axes), np.full(status.shape, np.nan), "time the point took", "s"),
        },
        coords={axis: variable(axis, values, LONG_NAMES[axis], "1") for axis, values in axes.items()},
        attrs={
            "title": f"{path.name}: {SURFACE}",
            "variant": path.stem,
            "split": "both" if len(splits) == 2 else splits[0],
            "directions": "file",
            "source": "github.com/tomgoldstein/loss-landscape",
        },
    )


def read_official_directions(path: Path) -> dict[str, list[np.ndarray]]:
    """Read directions of the official tool: under x, and y if there, one array a tensor.

    With its --dir_type weights these are all of model.parameters(), in that order; with states all of
    model.state_dict(), so running statistics too.

    Raises:
        RequestError: there is no such file, or it has no directions.
    """
    axes: dict[str, list[np.ndarray]] = {}
    with _opened(path) as file:
        for axis in ("x", "y"):
            group = file.get(f"{axis}direction")
            if isinstance(group, h5py.Group) and len(group) and _is_inside(file, f"{axis}direction"):
                names = [str(place) for place in range(len(group))]
                if set(names) != set(group) or not all(_is_inside(group, name) for name in names):
                    refuse(shown(path), f"{axis}direction holds {', '.join(group)}, not 0, 1, 2, ...")
                axes[axis] = [np.asarray(group[name]) for name in names]
    if "x" not in axes:
        refuse(shown(path), "holds no directions of the official tool (a group xdirection)")
    return axes


def official_surface(results: xr.Dataset, directions_file: str = "") -> bytes:
    """The content of a surface file as its plot scripts read it.

    Arrays have the shape (y, x): in the flat order that the official tool uses, and one that plot_2D.py can draw
    when the numbers of points differ, which the tool's own files cannot.

    Args:
        results: the contents of a surface-<name>.nc.
        directions_file: the name of the file with its directions.
    """
    axes = [axis for axis in _AXES if axis in results.dims]
    to_do = SurfaceResults(results).to_do
    split = str(results.attrs.get("split", "train"))
    quantities = dict(zip(_LOSS["test" if split == "test" else "train"], ("loss", "error"), strict=True))
    if split == "both":
        quantities |= dict(zip(_LOSS["test"], ("test_loss", "test_error"), strict=True))
    quantities |= {theirs: ours for ours, theirs in _EIGENVALUES.items()}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["dir_file"] = directions_file
        for axis in axes:
            file[_AXES[axis]] = results[axis].values
        for theirs, ours in quantities.items():
            if ours in results:
                values = results[ours].transpose(*axes).values
                values = 100 - values if theirs.endswith("_acc") else values
                file[theirs] = np.where(to_do, _NOT_COMPUTED.get(theirs, -1.0), values)
    return seal(buffer.getvalue())


def official_directions(axes: Mapping[str, Sequence[np.ndarray]]) -> bytes:
    """The content of a direction file: by axis, x and perhaps y, one array a parameter, in the network's order."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for axis, tensors in axes.items():
            group = file.create_group(f"{axis}direction")
            for place, tensor in enumerate(tensors):
                group.create_dataset(str(place), data=tensor)
    return seal(buffer.getvalue())


def _loss_and_error(grids: Mapping[str, Floats], split: str) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    loss_name, accuracy_name = _LOSS[split]
    loss = grids[loss_name]
    accuracy = grids.get(accuracy_name, np.full(loss.shape, -1.0))
    missing = np.asarray((loss == -1) & (accuracy == -1))
    return (
        np.where(missing, np.nan, loss),
        np.where(missing | (accuracy_name not in grids), np.nan, 100 - accuracy),
        missing,
    )


def _described(dims: tuple[str, ...], prefix: str, loss: Floats, error: Floats) -> dict[str, xr.Variable]:
    return {
        f"{prefix}loss": variable(dims, loss, "mean data loss", "1"),
        f"{prefix}loss_stderr": variable(dims, np.full(loss.shape, np.nan), "standard error of the mean loss", "1"),
        f"{prefix}error": variable(dims, error, "error", "%"),
    }


def _by_rows(path: Path, name: str, values: Floats, axes: Mapping[str, Floats]) -> Floats:
    """An array by its flat order: of a plane (y, x), of a line (x,)."""
    shape = [len(axis) for axis in axes.values()]
    if values.size != np.prod(shape):
        sizes = " x ".join(map(str, values.shape))
        refuse(shown(path), f"{name} has {sizes} values for {' x '.join(map(str, shape))} points")
    return values.reshape(shape)


def _datasets(path: Path) -> dict[str, Floats]:
    """The datasets that have a meaning here."""
    known = {*_AXES.values(), *_EIGENVALUES.values(), *(name for pair in _LOSS.values() for name in pair)}
    with _opened(path) as file:
        return {
            name: np.asarray(item, dtype=float)
            for name, item in file.items()
            if name in known and isinstance(item, h5py.Dataset) and _is_inside(file, name)
        }


def _is_inside(group: h5py.Group, name: str) -> bool:
    """Whether a dataset holds its own data: links and external storage would read other files of the computer."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return False
    item = group[name]
    return not (isinstance(item, h5py.Dataset) and (item.external or item.is_virtual))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    content = read(path)
    if MARK in content:  # of lossviz itself
        check_seal(path, content, "restore it from a copy, or export it again: lossviz plot ... --format h5")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            yield file
    except _DAMAGED as error:
        raise RequestError(Refusal(shown(path), f"is not an HDF5 file, or is damaged: {first_line(error)}")) from error
