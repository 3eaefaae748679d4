"""Lines and planes through other networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossviz.engine.point import move
from lossviz.errors import RequestError
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions.toward import differences, orthonormalize
from lossviz.surface.subspace import Subspace
from tests.surface.networks import flat, network, save

INPUTS = torch.linspace(-1, 1, 5 * 2 * 3 * 3, dtype=torch.float64).view(5, 2, 3, 3)


def loss(model: nn.Module) -> float:
    with torch.no_grad():
        outputs = model.eval()(INPUTS.to(next(model.parameters()).dtype))
    return float(nn.functional.cross_entropy(outputs.double(), torch.tensor([0, 1, 2, 0, 1])))


def two(folder: Path, dtype: torch.dtype = torch.float64) -> tuple[list[Checkpoint], list[nn.Module]]:
    models: list[nn.Module] = [network(seed, dtype) for seed in (1, 2)]
    return [save(folder / f"{i}.safetensors", each.state_dict()) for i, each in enumerate(models)], models


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_a_plane_through_three_networks_has_their_losses(tmp_path: Path, dtype: torch.dtype, tolerance: float) -> None:
    """Running statistics included: without them the corners would be other networks."""
    model = network(0, dtype)
    checkpoints, others = two(tmp_path, dtype)
    subspace = Subspace.of(model, statistics=True)
    directions = differences(subspace, checkpoints)
    tensors = [tensor.detach() for tensor in subspace.theta]
    origin = [tensor.clone() for tensor in tensors]
    for steps, other in (((0, 0), network(0, dtype)), ((1, 0), others[0]), ((0, 1), others[1])):
        move(tensors, origin, *zip(steps, directions, strict=True))
        np.testing.assert_allclose(loss(model), loss(other), rtol=tolerance)


def test_what_is_not_moved_stays(tmp_path: Path) -> None:
    subspace, (checkpoints, _) = Subspace.of(network(), statistics=True), two(tmp_path)
    (found,) = differences(subspace.only({"4.weight", "1.running_var"}), checkpoints[:1])
    moved = [each.name for each, part in zip(subspace.tensors, found, strict=True) if part.any()]
    assert moved == ["4.weight", "1.running_var"]


def test_half_precision_files_are_taken_as_the_network_would_hold_them(tmp_path: Path) -> None:
    model, other = network(0, torch.float32), network(1, torch.float32)
    checkpoint = save(tmp_path / "half.safetensors", {n: t.half() for n, t in other.state_dict().items()})
    (found,) = differences(Subspace.of(model), [checkpoint])
    np.testing.assert_allclose(
        flat(found), flat(list(other.half().float().parameters())) - flat(list(model.parameters()))
    )
    assert {part.dtype for part in found} == {torch.float32}


def test_orthonormalized(tmp_path: Path) -> None:
    """Perpendicular, as long as d1, in the same plane; the third network is where it says, statistics included."""
    subspace, (checkpoints, _) = Subspace.of(network(), statistics=True), two(tmp_path)
    first, second = differences(subspace, checkpoints)
    turned, (x, y) = orthonormalize(subspace, first, second)
    one, two_, other = (flat(subspace.parameters(each)) for each in (first, second, turned))
    assert abs(one @ other) < 1e-13 * (one @ one)
    np.testing.assert_allclose(other @ other, one @ one, rtol=1e-13)
    np.testing.assert_allclose(x, one @ two_ / (one @ one), rtol=1e-12)
    assert y > 0
    np.testing.assert_allclose(x * flat(first) + y * flat(turned), flat(second), atol=1e-13)


def test_orthonormalized_in_float32_stays_perpendicular() -> None:
    """On nearly parallel directions too: what is left of d2 is taken in float64."""
    subspace = Subspace.of(network(0, torch.float32))
    first = [torch.ones_like(tensor) for tensor in subspace.theta]
    second = [part + 1e-3 * torch.linspace(-1, 1, part.numel()).view(part.shape).square() for part in first]
    one, other = flat(first), flat(orthonormalize(subspace, first, second)[0])
    assert abs(one @ other) < 1e-6 * (one @ one)
    np.testing.assert_allclose(other @ other, one @ one, rtol=1e-6)


def refused(folder: Path, *states: dict[str, Tensor], moved: set[str] | None = None) -> str:
    subspace = Subspace.of(network(), statistics=True)
    checkpoints = [save(folder / f"net{i}.safetensors", state) for i, state in enumerate(states)]
    with pytest.raises(RequestError) as refusal:
        differences(subspace.only(moved or subspace.moved), checkpoints)
    return str(refusal.value)


def test_the_same_network_is_refused_by_name(tmp_path: Path) -> None:
    here, there = network(0).state_dict(), network(1).state_dict()
    assert "net0.safetensors has the weights of the scan's own" in refused(tmp_path, here)
    assert "net1.safetensors has the weights of the scan's own" in refused(tmp_path, there, here)
    only_there = {**here, "0.bias": there["0.bias"]}
    assert "net0.safetensors" in refused(tmp_path, only_there, moved={"4.weight"})


def test_networks_on_one_line_are_refused_by_name(tmp_path: Path) -> None:
    here, there = network(0).state_dict(), network(1).state_dict()
    between = {name: tensor if "num" in name else (0.3 * tensor + 0.7 * here[name]) for name, tensor in there.items()}
    for second in (there, between):
        said = refused(tmp_path, there, second)
        assert "net0.safetensors and net1.safetensors lie on one line" in said


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, network(width=5).state_dict())
    assert "belongs to another network: 0.weight is (5, 2, 3, 3) in the file and (4, 2, 3, 3)" in said
