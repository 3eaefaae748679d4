"""Result files: what was measured is what is read, by us and by everybody's tools, or a file is called damaged."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from lossviz import __version__
from lossviz.config import read
from lossviz.errors import RequestError, WorkError
from lossviz.probe.command import probed_training
from lossviz.probe.prober import Prober
from lossviz.results import in_units, load_results, protocol, save_results, variable
from lossviz.run import run_of
from lossviz.setup import prepare
from lossviz.signals import StopRequest
from lossviz.surface.command import surface
from lossviz.surface.plan import ScanPlan
from lossviz.training.command import train
from tests.faults import tiny


@pytest.fixture
def results() -> xr.Dataset:
    """Everything that is hard to keep: NaN, infinities, the sign of zero, small integers, nothing, Greek."""
    loss = np.array([[1.0, np.nan, np.inf], [-np.inf, -0.0, 5e-324]])
    return xr.Dataset(
        {
            "loss": variable(("y", "x"), loss, "mean loss L(θ)", "nats"),
            "status": variable(("y", "x"), np.array([[0, 1, 2], [-128, 127, 0]], np.int8), "state", "1"),
            "single": variable("y", np.array([np.nan, 0.1], np.float32), "single precision", "1"),
            "nothing": variable("none", np.zeros(0), "no points", "1"),
            "no_rows": variable(("none", "x"), np.zeros((0, 3), np.int64), "no rows", "1"),
            "seconds": variable(("y", "x"), np.full((2, 3), 0.5), "time", "s"),
            "large": variable("y", np.array([2**62, -1]), "large", "1"),
            "number": variable((), 3.5, "a number", "1"),
        },
        coords={"x": variable("x", [-1.0, 0.0, np.nan], "x", "1"), "y": variable("y", [3, -3], "y", "1")},
        attrs={
            "title": "Größe η ≥ 0 … 損失",
            "seed": 7,
            "lr": 0.1,
            "yaml": "a: b\nc: [1, 2]\n",
            "e": "",
        },
    )


def test_round_trip(tmp_path: Path, results: xr.Dataset) -> None:
    path = tmp_path / "deep" / "surface-main.nc"
    save_results(path, results)
    back = load_results(path)
    xr.testing.assert_identical(back, results)
    for name, before in results.variables.items():
        assert back[name].dtype == before.dtype, name
        assert back[name].dims == before.dims, name
        assert back[name].values.tobytes() == np.ascontiguousarray(before.values).tobytes(), name
        assert back[name].encoding == {}, name
    assert back.encoding == {}
    assert list(back.attrs) == list(results.attrs)


def test_an_attribute_that_is_not_a_number(tmp_path: Path) -> None:
    save_results(tmp_path / "a.nc", xr.Dataset(attrs={"cosine": np.nan}))
    assert np.isnan(load_results(tmp_path / "a.nc").attrs["cosine"])


def test_saving_what_was_loaded_changes_nothing(tmp_path: Path, results: xr.Dataset) -> None:
    save_results(tmp_path / "a.nc", results)
    save_results(tmp_path / "b.nc", load_results(tmp_path / "a.nc"))
    xr.testing.assert_identical(load_results(tmp_path / "b.nc"), results)


def test_what_was_loaded_lies_in_memory(tmp_path: Path, results: xr.Dataset) -> None:
    path = tmp_path / "a.nc"
    save_results(path, results)
    back = load_results(path)
    path.unlink()
    xr.testing.assert_identical(back, results)
    back.loss[0, 0] = 2.0
    assert back.loss[0, 0] == 2.0


def test_everybodys_tools_open_it(tmp_path: Path, results: xr.Dataset) -> None:
    path = tmp_path / "a.nc"
    save_results(path, results)
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        xr.testing.assert_identical(plain.load(), results)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["loss"][()], results.loss.values)
        assert file["loss"].attrs["units"] == "nats"
        assert file["loss"].attrs["long_name"] == "mean loss L(θ)"
        assert file.attrs["title"] == results.attrs["title"]
        assert "_FillValue" not in file["loss"].attrs


def test_a_reader_holds_no_writer_up(tmp_path: Path, results: xr.Dataset) -> None:
    path = tmp_path / "a.nc"
    save_results(path, results)
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        save_results(path, results.assign_attrs(seed=8))
        assert plain.attrs["seed"] == 7
    assert load_results(path).attrs["seed"] == 8


def test_an_altered_file_is_named(tmp_path: Path, results: xr.Dataset) -> None:
    path = tmp_path / "train.nc"
    save_results(path, results)
    whole = path.read_bytes()
    step = max(1, len(whole) // 200)
    flipped = [whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :] for at in range(0, len(whole), step)]
    cut = [whole[:at] for at in [*range(0, len(whole), step), len(whole) - 1]]
    for altered in [*flipped, *cut, whole + b"\0"]:
        path.write_bytes(altered)
        with pytest.raises(WorkError) as caught:
            load_results(path)
        assert str(caught.value).startswith(f"{path}: does not match its checksum: it was cut short or altered\n")


def test_results_of_another_kind_are_named(tmp_path: Path, results: xr.Dataset) -> None:
    results = results.assign_attrs(title="tiny/a: measurements along the gradient")
    for name in ("probe.nc", "mine.nc"):
        save_results(tmp_path / name, results)
        load_results(tmp_path / name)
    for name, kind in (("train.nc", "training curves"), ("surface-main.nc", "loss surface")):
        save_results(tmp_path / name, results)
        with pytest.raises(WorkError, match=f"{name}: is of measurements along the gradient, and should be of {kind}"):
            load_results(tmp_path / name)


def test_a_file_that_others_wrote_is_not_a_result(tmp_path: Path, results: xr.Dataset) -> None:
    path = tmp_path / "train.nc"
    results.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(WorkError, match="does not match its checksum"):
        load_results(path)


def test_a_missing_file_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"train\.nc: cannot be read: No such file or directory$"):
        load_results(tmp_path / "train.nc")


def test_the_protocol_can_be_written_and_holds_the_whole_configuration(tmp_path: Path) -> None:
    (config, *_) = read("quickstart", ["seed=4294967295"])
    save_results(tmp_path / "a.nc", xr.Dataset(attrs=protocol(config, "cross-entropy", "training")))
    attributes = load_results(tmp_path / "a.nc").attrs
    assert attributes["title"] == f"quickstart/{config.variant}: training"
    assert (attributes["seed"], attributes["lossviz"]) == (4294967295, __version__)
    assert attributes["loss_function"] == "cross-entropy"
    (tmp_path / "again.yaml").write_text(attributes["configuration"], encoding="utf-8")
    assert read(str(tmp_path / "again.yaml")) == [config]


@pytest.mark.parametrize(
    ("attributes", "units"),
    [
        ({"loss_function": "cross-entropy"}, ["nat", "1/nat", "%"]),
        ({"loss_function": "squared-error"}, ["1", "1", "%"]),
        ({"loss_function": "own"}, ["1", "1", "%"]),
        ({}, ["nat", "1/nat", "%"]),
    ],
)
def test_units_follow_from_the_loss(attributes: dict[str, str], units: list[str]) -> None:
    """Of variables and coordinates; a checkpoint's name has none; what was given stays as it was."""
    values = {"loss": variable("length", [1.0], "L", "nat"), "error": variable("length", [2.0], "E", "%")}
    names = {"length": variable("length", [0.1], "eta", "1/nat"), "checkpoint": ["step 1"]}
    given = xr.Dataset(values, names, attributes)
    found = in_units(given)
    assert [found[name].attrs["units"] for name in ("loss", "length", "error")] == units
    assert [given[name].attrs["units"] for name in ("loss", "length", "error")] == ["nat", "1/nat", "%"]
    xr.testing.assert_equal(found, given)
    assert (found.attrs, found.loss.attrs["long_name"]) == (attributes, "L")


# What has the unit of the loss.
NATS = {
    "train.nc": ["loss", "penalty", "train_loss", "val_loss"],
    "probe.nc": [
        *("loss", "penalty", "grad_norm", "path_loss", "path_penalty", "grad_distance", "smoothness", "shift_l2"),
        "hessian_eigenvalue",
    ],
    "surface-main.nc": [
        *("loss", "loss_stderr", "test_loss", "test_loss_stderr", "penalty", "grad_norm", "hessian_max", "hessian_min"),
        *("checkpoint_loss", "checkpoint_plane_loss"),
    ],
}
REGRESSION = ("data={name: gaussian, features: 3, examples: 40}", "model={name: linear, depth: 2}")
MEASURED = (
    "train.steps=2",
    "probe={measures: [landscape, shift, sharpness], layers: [1], lengths: [0.1]}",
    "surface={x: [-1, 1, 3], metrics: [gradient, hessian], data: {split: both, examples: 20}}",
)


@pytest.mark.parametrize(
    ("settings", "loss", "unit", "inverse"),
    [((), "cross-entropy", "nat", "1/nat"), (REGRESSION, "squared-error", "1", "1")],
)
def test_all_files_of_a_run_have_the_units_of_its_loss(
    tmp_path: Path, settings: tuple[str, ...], loss: str, unit: str, inverse: str
) -> None:
    (config,) = read(str(tiny.write(tmp_path)), [*MEASURED, *settings])
    setup = prepare(config, run_of(config, tmp_path), "cpu")
    with setup.run.writing(config):
        train(setup, tiny.QUIET, StopRequest(), Prober(probed_training(setup), [0]))
        surface(ScanPlan(setup), tiny.QUIET, StopRequest())
    for name, quantities in NATS.items():
        found = load_results(setup.run.folder / name)
        units = {str(each): array.attrs.get("units") for each, array in found.variables.items()}
        assert {units.pop(each) for each in quantities} == {unit}
        assert units.pop("length", inverse) == inverse
        assert set(units.values()) <= {"1", "%", "s", None}
        assert found.attrs["loss_function"] == loss
    trained = sum(each.numel() for each in setup.model().parameters())
    assert load_results(setup.run.train_file).attrs["parameters"] == trained


def test_compression_loses_nothing(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    long = xr.Dataset(
        {
            "loss": ("step", draws.normal(size=50_000)),
            "lr": ("step", np.where(draws.random(50_000) < 0.1, np.nan, 0.1)),
            "final": ((), -0.0),
        },
        coords={"step": np.arange(50_000)},
        attrs={"title": "long"},
    )
    save_results(tmp_path / "plain.nc", long)
    save_results(tmp_path / "packed.nc", long, compressed=True)
    back = load_results(tmp_path / "packed.nc")
    assert (tmp_path / "packed.nc").stat().st_size < 0.6 * (tmp_path / "plain.nc").stat().st_size
    for name, before in long.variables.items():
        assert back[name].values.tobytes() == before.values.tobytes(), name
    assert back.attrs == long.attrs
