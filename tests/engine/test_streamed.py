"""Vectors that are read or drawn piece by piece, against the whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine import streamed
from lossviz.engine.point import dot, move, squared_norm, undisturbed
from lossviz.engine.streamed import OnDisk, Scratch, Streamed, picked, pieces

SHAPES: list[tuple[int, ...]] = [(), (40,), (1, 40), (33, 10), (40, 3, 2), (64, 5), (7, 40), (81, 1), (40, 2, 3, 3)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PIECE", 60)


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    found = [torch.randn(shape, generator=draws).to(dtype) for shape in SHAPES]
    return [*found[:-1], found[-1].to(memory_format=torch.channels_last)]


class Halves(Streamed):
    """Half of other tensors."""

    def __init__(self, whole: Sequence[Tensor]) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def like(self, i: int) -> Tensor:
        return self.whole[i]

    def parts(self, i: int) -> Iterator[Tensor]:
        return (self.whole[i][rows] / 2 for rows in pieces(self.whole[i]))


@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_are_the_whole(shape: tuple[int, ...]) -> None:
    """So are numbers that are drawn piece by piece."""
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = [whole[rows] for rows in pieces(whole)]
    assert torch.equal(torch.cat(parts) if len(parts) > 1 else parts[0], whole)
    draws = torch.Generator().manual_seed(0)
    again = [torch.randn(part.shape, generator=draws, dtype=torch.float64) for part in parts]
    assert all(torch.equal(one, other) for one, other in zip(parts, again, strict=True))
    assert (len(parts) > 1) == (shape in SHAPES[3:6] + SHAPES[7:])


def test_sums_over_pieces() -> None:
    u, v = tensors(0), tensors(1)
    flat = [torch.cat([each.flatten() for each in vector]).double() for vector in (u, v)]
    assert float(squared_norm(u)) == pytest.approx(float(flat[0] @ flat[0]), rel=1e-13)
    assert float(dot(u, v)) == pytest.approx(float(flat[0] @ flat[1]), rel=1e-12)
    assert squared_norm(Halves(u)) == squared_norm([each / 2 for each in u])
    assert dot(Halves(u), v) == dot([each / 2 for each in u], v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_moves_of_streamed_vectors_are_bitwise_those_of_vectors_in_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    origin, x, y = (tensors(seed, dtype) for seed in range(3))
    one, other = tensors(3, dtype), tensors(4, dtype)
    move(one, origin, (0.3, [each / 2 for each in x]), (-2.0, y))
    with (tmp_path / "origin").open("w+b") as file:
        disk = OnDisk(origin, file)
        assert all(torch.equal(there, here) for there, here in zip(disk, origin, strict=True))
        assert [each.stride() for each in disk] == [each.stride() for each in origin]
        move(other, disk, (0.3, Halves(x)), (-2.0, y))
        assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))
        move(other, disk)
        assert all(torch.equal(first, second) for first, second in zip(origin, other, strict=True))


def test_picked_tensors() -> None:
    u = tensors(0)
    assert picked([(u, 3), (u, 0)], [u[3], u[0]]) == [u[3], u[0]]
    lazy = picked([(u, 3), (Halves(u), 8)], [u[3], u[8]])
    assert isinstance(lazy, Streamed)
    assert torch.equal(lazy[0], u[3])
    assert torch.equal(lazy[1], u[8] / 2)
    assert len(lazy[0:1]) == 1


def test_undisturbed_without_a_copy_in_memory(tmp_path: Path) -> None:
    """Bitwise, and no file is left."""
    model = nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40)).bfloat16().to(memory_format=torch.channels_last)
    model[1].float()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyboardInterrupt), undisturbed(model, keep=False, folder=str(tmp_path)) as origin:
        assert isinstance(origin, OnDisk)
        for parameter in model.parameters():
            parameter.data.mul_(3)
        raise KeyboardInterrupt
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not list(tmp_path.iterdir())


def test_scratch_is_one_piece_of_memory() -> None:
    scratch = Scratch(torch.float64)
    first = scratch.copy(torch.randn(4, 5))
    place = first.untyped_storage().data_ptr()
    second = scratch.copy(torch.zeros(()).expand(3, 2))
    assert second.untyped_storage().data_ptr() == place
    assert torch.equal(second, torch.zeros(3, 2, dtype=torch.float64))
    image = torch.randn(1, 2, 2, 2).to(memory_format=torch.channels_last)
    copy = scratch.copy(image)
    assert copy.stride() == image.stride()
    assert torch.equal(copy, image.double())
    assert scratch.empty_like(image[0]).stride() == image[0].stride()
    assert scratch.bytes(3).nbytes == 24
