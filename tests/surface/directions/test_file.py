"""Directions of another scan, and of the official tool."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from lossviz.engine.checkpoint import load_tensors, save_tensors
from lossviz.errors import RequestError, WorkError
from lossviz.surface.directions.file import directions_of_file, unused_statistics
from lossviz.surface.subspace import Subspace
from tests.surface.networks import network


def drawn(statistics: bool = True) -> dict[str, list[Tensor]]:
    subspace = Subspace.of(network(), statistics)
    draws = torch.Generator().manual_seed(5)
    return {
        axis: [torch.randn(each.shape, generator=draws, dtype=torch.float64) for each in subspace.theta]
        for axis in "xy"
    }


def saved(folder: Path, **changes: Tensor | None) -> Path:
    """A file of directions with some tensors replaced, added, or left out."""
    tensors = {**Subspace.of(network(), statistics=True).to_tensors(drawn()), **changes}
    path = folder / "directions-main.safetensors"
    save_tensors(path, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    return path


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("axes", ["x", "xy"])
def test_unchanged(tmp_path: Path, statistics: bool, axes: str) -> None:
    """More may be there than a scan needs: statistics where they stay, y where it is a line."""
    subspace = Subspace.of(network(1), statistics)
    found = directions_of_file(saved(tmp_path), subspace, axes).vectors
    for axis, vector in found.items():
        expected = drawn()[axis][: len(subspace.tensors)]
        assert all(torch.equal(one, other) for one, other in zip(vector, expected, strict=True))
    assert list(found) == list(axes)


def test_statistics_that_stay_although_the_file_moves_them(tmp_path: Path) -> None:
    """Zeros move nothing, and of a line only x counts."""
    path = saved(tmp_path, **{"x/1.running_var": torch.zeros(4)})
    without, with_them = (Subspace.of(network(), statistics) for statistics in (False, True))
    assert unused_statistics(without, load_tensors(path), "x") == ["x/1.running_mean"]
    assert directions_of_file(path, without, "x").facts == {"unused_statistics": 1}
    assert directions_of_file(path, with_them, "x").facts == {}


def test_a_plain_safetensors_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    subspace = Subspace.of(network())
    safetensors.torch.save_file(subspace.to_tensors(drawn(statistics=False)), path)
    found = directions_of_file(path, subspace, "x")
    assert found.facts == {}
    assert torch.equal(found.vectors["x"][0], drawn()["x"][0])


def test_what_moves_is_what_is_not_zero(tmp_path: Path) -> None:
    path = saved(tmp_path, **{f"{axis}/0.bias": torch.zeros(4) for axis in "xy"}, **{"x/4.bias": torch.zeros(3)})
    subspace = Subspace.of(network())
    assert directions_of_file(path, subspace, "xy").subspace.moved == {*subspace.moved} - {"0.bias"}
    assert directions_of_file(path, subspace, "x").subspace.moved == {*subspace.moved} - {"0.bias", "4.bias"}


def test_dtype_and_layout_are_the_networks(tmp_path: Path) -> None:
    subspace = Subspace.of(network(dtype=torch.float32))
    found = directions_of_file(saved(tmp_path), subspace, "x").vectors["x"]
    for part, each in zip(found, subspace.tensors, strict=True):
        assert (part.dtype, part.stride()) == (torch.float32, each.tensor.stride())


def refused(path: Path, axes: str = "xy", statistics: bool = False) -> str:
    with pytest.raises(RequestError) as refusal:
        directions_of_file(path, Subspace.of(network(), statistics), axes)
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    assert "x/4.weight is missing" in refused(saved(tmp_path, **{"x/4.weight": None}))
    said = refused(saved(tmp_path, **{"y/4.weight": torch.zeros(3, 5)}))
    assert "y/4.weight is (3, 5) in the file and (3, 4) in the network" in said
    assert "x/5.weight is in the file and not in the network" in refused(
        saved(tmp_path, **{"x/5.weight": torch.ones(1)})
    )
    without = {f"y/{each.name}": None for each in Subspace.of(network(), statistics=True).tensors}
    assert "has no direction y" in refused(saved(tmp_path, **without))
    assert "x/1.running_var is missing" in refused(saved(tmp_path, **{"x/1.running_var": None}), statistics=True)


def test_no_file_of_directions(tmp_path: Path) -> None:
    other = tmp_path / "directions.pt"
    other.write_bytes(b"")
    assert "accepted: a directions-NAME.safetensors, or the official tool's .h5" in refused(other)
    refused(tmp_path / "missing.safetensors")
    refused(tmp_path / "missing.h5")
    torn = saved(tmp_path)
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(WorkError, match="checksum"):
        directions_of_file(torn, Subspace.of(network()), "x")


def official(path: Path, **axes: list[np.ndarray]) -> Path:
    """As h5_util.write_list of the official tool writes it."""
    with h5py.File(path, "w") as file:
        for axis, arrays in axes.items():
            group = file.create_group(f"{axis}direction")
            for i, array in enumerate(arrays):
                group.create_dataset(str(i), data=array)
    return path


@pytest.mark.parametrize("entries", ["parameters", "states", "states of an early release"])
def test_the_official_tools_file(tmp_path: Path, entries: str) -> None:
    """--dir_type weights has one tensor a parameter; states one an entry of the state_dict."""
    model, draws = network(), np.random.default_rng(0)
    names = [name for name, _ in model.named_parameters()]
    if entries != "parameters":
        names = [name for name in model.state_dict() if entries == "states" or "num_batches" not in name]
    arrays = {a: [draws.normal(size=tuple(model.state_dict()[name].shape)) for name in names] for a in "xy"}
    path = official(tmp_path / "directions.h5", **arrays)
    subspace = Subspace.of(model, statistics=entries != "parameters")
    for axis, vector in directions_of_file(path, subspace, "xy").vectors.items():
        for each, part in zip(subspace.tensors, vector, strict=True):
            np.testing.assert_array_equal(part.numpy(), arrays[axis][names.index(each.name)])
    if entries == "parameters":
        assert "x/1.running_mean is missing" in refused(path, statistics=True)


def test_the_official_tools_file_of_another_network(tmp_path: Path) -> None:
    arrays = [np.zeros(tuple(parameter.shape)) for parameter in network(width=5).parameters()]
    assert "belongs to another network: x has 6 tensors" in refused(official(tmp_path / "other.h5", x=arrays), "x")
    right = [np.zeros(tuple(parameter.shape)) for parameter in network().parameters()]
    assert "y has 5 tensors" in refused(official(tmp_path / "y.h5", x=right, y=right[:5]))
