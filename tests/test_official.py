"""Files of the official tool, as its plot_surface.py, scheduler.py and h5_util.py write and read them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from lossviz.errors import RequestError, WorkError
from lossviz.official import (
    official_directions,
    official_surface,
    read_official_directions,
    read_official_surface,
)
from lossviz.results import variable

X, Y = np.linspace(-1, 1, 5), np.linspace(0, 2, 3)


def loss_at(x: Any, y: Any) -> Any:
    return 1 + x + 10 * y


def accuracy_at(x: Any, y: Any) -> Any:
    return 50 + x - y


def crunch(
    path: Path,
    y: np.ndarray | None = Y,
    points: Sequence[int] | None = None,
    names: Sequence[str] = ("train_loss", "train_acc"),
) -> Path:
    """What crunch() leaves after the points of some flat indices: arrays of shape (x, y), in the order of meshgrid."""
    with h5py.File(path, "a") as file:
        if "xcoordinates" not in file:
            file["dir_file"], file["xcoordinates"] = "some/where.h5", X
            if y is not None:
                file["ycoordinates"] = y
        mesh_x, mesh_y = (X, 0 * X) if y is None else np.meshgrid(X, y)
        for name, value_at in zip(names, (loss_at, accuracy_at), strict=False):
            values = -np.ones(X.shape if y is None else (len(X), len(y)))
            for place in range(values.size) if points is None else points:
                values.ravel()[place] = value_at(mesh_x.ravel()[place], mesh_y.ravel()[place])
            file[name] = values
    return path


def test_every_value_is_at_its_point_of_a_rectangular_grid(tmp_path: Path) -> None:
    surface = read_official_surface(crunch(tmp_path / "theirs.h5"))
    assert surface.loss.dims == ("y", "x")
    for x in X:
        for y in Y:
            there = surface.sel(x=x, y=y)
            assert there.loss == loss_at(x, y)
            assert there.error == 100 - accuracy_at(x, y)
            assert there.status == 1


def test_minus_one_is_still_to_do_and_nan_is_a_result(tmp_path: Path) -> None:
    path = crunch(tmp_path / "theirs.h5", points=[0, 1, 7])
    with h5py.File(path, "r+") as file:
        flat = file["train_loss"][:].ravel()
        flat[7] = np.nan
        file["train_loss"][:] = flat.reshape(len(X), len(Y))
    surface = read_official_surface(path)
    assert surface.status.values.tolist() == [[1, 1, 0, 0, 0], [0, 0, 2, 0, 0], [0, 0, 0, 0, 0]]
    assert np.isfinite(surface.loss.values).sum() == 2
    assert np.isfinite(surface.error.values).sum() == 3


def test_a_loss_of_minus_one_that_was_measured_is_a_result(tmp_path: Path) -> None:
    path = crunch(tmp_path / "theirs.h5")
    with h5py.File(path, "r+") as file:
        file["train_loss"][0, 0] = -1.0
    surface = read_official_surface(path)
    assert surface.loss[0, 0] == -1
    assert (surface.status == 1).all()


def test_a_line(tmp_path: Path) -> None:
    surface = read_official_surface(crunch(tmp_path / "theirs.h5", y=None))
    assert surface.loss.dims == ("x",)
    assert surface.loss.values.tolist() == [loss_at(x, 0) for x in X]


def test_both_splits(tmp_path: Path) -> None:
    path = crunch(tmp_path / "theirs.h5")
    crunch(path, names=("test_loss", "test_acc"))
    surface = read_official_surface(path)
    assert surface.attrs["split"] == "both"
    assert (surface.test_loss.values == surface.loss.values).all()
    assert (surface.test_error.values == surface.error.values).all()


def test_only_the_test_split_and_without_accuracy(tmp_path: Path) -> None:
    surface = read_official_surface(crunch(tmp_path / "theirs.h5", names=("test_loss",)))
    assert surface.attrs["split"] == "test"
    assert surface.loss.sel(x=-1, y=2) == loss_at(-1, 2)
    assert surface.error.isnull().all()
    assert "test_loss" not in surface


def test_eigenvalues_of_the_hessian(tmp_path: Path) -> None:
    path = crunch(tmp_path / "theirs.h5")
    with h5py.File(path, "r+") as file:
        for name, blank in (("min_eig", 1.0), ("max_eig", -1.0)):
            values = np.arange(15.0) + 2
            values[4] = blank
            file[name] = values.reshape(len(X), len(Y))
    surface = read_official_surface(path)
    for name in ("hessian_min", "hessian_max"):
        assert np.isnan(surface[name].values[0, 4])
        assert surface[name].values[1, 0] == 7


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.pop("xcoordinates"), "needed: xcoordinates, and train_loss or test_loss"),
        (lambda file: file.pop("train_loss"), "there is: train_acc, xcoordinates, ycoordinates"),
        (lambda file: file.pop("ycoordinates"), "train_acc has 5 x 3 values for 5 points"),
        (lambda file: file["train_loss"].__setitem__(..., -1) or file.pop("train_acc"), "no point that was computed"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, spoil: Callable[[h5py.File], object], said: str) -> None:
    path = crunch(tmp_path / "theirs.h5")
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(RequestError, match=said):
        read_official_surface(path)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    path = crunch(tmp_path / "theirs.h5")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RequestError, match=r"theirs\.h5: is not an HDF5 file"):
        read_official_surface(path)
    with pytest.raises(RequestError, match="cannot be read"):
        read_official_directions(tmp_path / "none.h5")


def ours(split: str = "train", dims: tuple[str, ...] = ("y", "x")) -> xr.Dataset:
    y, x = np.meshgrid(Y, X, indexing="ij")
    loss = loss_at(x, y)
    status = np.ones(loss.shape, np.int8)
    loss[0, 0], status[0, 0] = np.nan, 0
    loss[1, 2], status[1, 2] = np.inf, 2
    values = {"loss": loss, "error": 3 * loss, "test_loss": loss + 1, "test_error": 2 * loss, "status": status}
    kept = values if split == "both" else {name: each for name, each in values.items() if "test" not in name}
    return xr.Dataset(
        {name: variable(("y", "x"), each, name, "1") for name, each in kept.items()},
        coords={"x": variable("x", X, "x", "1"), "y": variable("y", Y, "y", "1")},
        attrs={"split": split},
    ).transpose(*dims)


@pytest.mark.parametrize("dims", [("y", "x"), ("x", "y")])
def test_written_for_its_plots(dims: tuple[str, ...]) -> None:
    with h5py.File(io.BytesIO(official_surface(ours(dims=dims), "directions.h5"))) as file:
        # As plot_2D.py draws it: Z over meshgrid(x, y).
        mesh_x, mesh_y = np.meshgrid(file["xcoordinates"][:], file["ycoordinates"][:])
        z, accuracy = file["train_loss"][:], file["train_acc"][:]
        assert file["dir_file"][()].decode() == "directions.h5"
        assert "test_loss" not in file
    assert z.shape == mesh_x.shape
    expected = loss_at(mesh_x, mesh_y)
    expected[0, 0], expected[1, 2] = -1, np.inf
    np.testing.assert_array_equal(z, expected)
    assert accuracy[0, 0] == -1
    assert accuracy[2, 1] == 100 - 3 * z[2, 1]


@pytest.mark.parametrize("split", ["train", "test", "both"])
def test_reading_gives_back_what_was_written(tmp_path: Path, split: str) -> None:
    (tmp_path / "ours.h5").write_bytes(official_surface(ours(split)))
    back, before = read_official_surface(tmp_path / "ours.h5"), ours(split)
    assert back.attrs["split"] == split
    for name in before.variables:
        np.testing.assert_allclose(back[name].values, before[name].values, rtol=1e-14)


def test_an_altered_file_of_lossviz_is_named(tmp_path: Path) -> None:
    content = official_surface(ours())
    at = content.index(ours().x.values.tobytes())
    (tmp_path / "ours.h5").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(WorkError, match=r"ours\.h5: does not match its checksum"):
        read_official_surface(tmp_path / "ours.h5")


def test_a_line_has_no_y(tmp_path: Path) -> None:
    line = ours().isel(y=2, drop=True)
    (tmp_path / "ours.h5").write_bytes(official_surface(line))
    back = read_official_surface(tmp_path / "ours.h5")
    assert back.loss.dims == ("x",)
    np.testing.assert_array_equal(back.loss.values, line.loss.values)


def test_directions_both_ways(tmp_path: Path) -> None:
    path, rng = tmp_path / "directions.h5", np.random.default_rng(0)
    # More than ten: as text, 10 comes before 2.
    axes = {axis: [rng.normal(size=(place + 1, 2)).astype(np.float32) for place in range(12)] for axis in "xy"}
    with h5py.File(path, "w") as file:
        for axis, tensors in axes.items():
            group = file.create_group(f"{axis}direction")  # write_list of h5_util.py
            for place, tensor in enumerate(tensors):
                group.create_dataset(str(place), data=tensor)
    written = tmp_path / "ours.h5"
    written.write_bytes(official_directions(axes))
    for each in (path, written):
        back = read_official_directions(each)
        assert list(back) == ["x", "y"]
        for axis, tensors in axes.items():
            for before, after in zip(tensors, back[axis], strict=True):
                np.testing.assert_array_equal(after, before)
                assert after.dtype == np.float32


def test_a_file_without_directions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a group xdirection"):
        read_official_directions(crunch(tmp_path / "theirs.h5"))


def test_a_file_that_points_at_other_files_does_not_read_them(tmp_path: Path) -> None:
    """External links and external storage would bring in whatever lies on the reader's disk."""
    secret = crunch(tmp_path / "secret.h5")
    for kind in ("link", "storage"):
        path = tmp_path / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            file["xcoordinates"], file["ycoordinates"] = X, Y
            if kind == "link":
                file["train_loss"] = h5py.ExternalLink(str(secret), "train_loss")
            else:
                outside = [(str(secret), 0, 8 * len(X) * len(Y))]
                file.create_dataset("train_loss", (len(X), len(Y)), "f8", external=outside)
        with pytest.raises(RequestError, match="train_loss"):
            read_official_surface(path)


@pytest.mark.parametrize("damage", [lambda part: bytes(len(part)), lambda part: bytes(255 - each for each in part)])
def test_a_file_of_the_official_tool_that_is_damaged_anywhere_is_named(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """It has no checksum, so numbers may have changed; nothing but a refusal may come of its structure."""
    whole, damaged = tmp_path / "whole.h5", tmp_path / "damaged.h5"
    with h5py.File(whole, "w") as file:
        file["xdirection/0"], file["xdirection/1"], file["ydirection/0"] = np.ones(3), np.ones(4), np.ones(3)
    crunch(whole)
    content, refused = whole.read_bytes(), 0
    for at in range(0, len(content), 24):
        damaged.write_bytes(content[:at] + damage(content[at : at + 8]) + content[at + 8 :])
        for read in (read_official_directions, read_official_surface):
            try:
                read(damaged)
            except RequestError as error:
                assert str(error).startswith(str(damaged))
                refused += 1
    assert refused > 40
