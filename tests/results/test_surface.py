from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import xarray as xr

from lossviz.errors import WorkError
from lossviz.files import BLANK_SEAL, seal
from lossviz.results import DONE, NOT_FINITE, TO_DO, SurfaceResults
from lossviz.results.surface import load_directions, matching_points


def plane(x: list[float], y: list[float], status: int = DONE) -> xr.Dataset:
    loss = np.add.outer(10 * np.array(y), x)
    return xr.Dataset(
        {"loss": (("y", "x"), loss), "status": (("y", "x"), np.full(loss.shape, status, np.int8))},
        coords={"x": x, "y": y},
    )


def test_arrays_are_rows_of_y_whatever_the_file_has() -> None:
    results = plane([-1, 0, 1], [0, 2])
    for each in (results, results.transpose("x", "y")):
        np.testing.assert_array_equal(SurfaceResults(each).values("loss"), [[-1, 0, 1], [19, 20, 21]])
        assert SurfaceResults(each).axes == ("y", "x")


def test_the_status_says_what_is_there() -> None:
    results = plane([0, 1, 2], [0, 1])
    results.status[:] = [[TO_DO, DONE, NOT_FINITE], [TO_DO, TO_DO, TO_DO]]
    view = SurfaceResults(results)
    np.testing.assert_array_equal(view.to_do, [[True, False, False], [True, True, True]])
    np.testing.assert_array_equal(view.not_finite, [[False, False, True], [False, False, False]])
    assert not view.is_empty
    assert SurfaceResults(plane([0, 1], [0, 1], TO_DO)).is_empty


def test_the_centre_is_the_point_of_the_checkpoint() -> None:
    view = SurfaceResults(plane([-1, 0, 1], [-2, 0, 2]))
    assert view.holds_centre
    assert view.centre is not None
    assert float(view.centre.loss) == 0
    assert SurfaceResults(view.data.isel(y=0, drop=True)).axes == ("x",)
    for known, held in ((plane([-1, 0, 1], [1, 2]), False), (plane([-1, 0, 1], [0, 2], TO_DO), True)):
        assert SurfaceResults(known).centre is None
        assert SurfaceResults(known).holds_centre is held


def test_directions_are_those_of_the_configuration() -> None:
    text = "surface: {directions: {kind: random, seed: 3}}"
    assert SurfaceResults(plane([0, 1], [0, 1]).assign_attrs(configuration=text)).directions["seed"] == 3
    assert SurfaceResults(plane([0, 1], [0, 1])).directions == {}


def test_stored_directions_are_read_and_checked(tmp_path: Path) -> None:
    file, tensors = tmp_path / "directions-main.safetensors", {"x/w": np.arange(3.0)}
    content = seal(safetensors.numpy.save(tensors, {"seal": BLANK_SEAL.decode()}))
    file.write_bytes(content)
    np.testing.assert_array_equal(load_directions(file)["x/w"], tensors["x/w"])
    file.write_bytes(content[:-1] + b"1")
    with pytest.raises(WorkError, match="scan again with --fresh"):
        load_directions(file)


def test_points_match_up_to_rounding() -> None:
    fine = np.linspace(-1, 1, 21)
    np.testing.assert_array_equal(matching_points(np.linspace(-1, 1, 5) * (1 + 1e-15), fine), [0, 5, 10, 15, 20])
    np.testing.assert_array_equal(matching_points(np.array([-1.1, -1.0 + 1e-6, 0.1]), fine), [-1, -1, 11])
