"""BatchNorm over several processes, here over one that is all of them: torch's own BatchNorm is the reference.

tests/engine/test_together.py has real processes.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import Tensor, nn

from lossviz.distributed.group import Group
from lossviz.distributed.ranks import Ranks
from lossviz.distributed.sync_batch_norm import SyncBatchNorm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("tracks", [True, False])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_outputs_gradients_and_running_statistics(affine: bool, tracks: bool, momentum: float | None) -> None:
    torch.manual_seed(0)
    ours = nn.BatchNorm2d(3, eps=1e-2, momentum=momentum, affine=affine, track_running_stats=tracks).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    theirs = copy.deepcopy(ours)
    mine, yours = (torch.randn(4, 3, 2, 2, dtype=torch.float64).requires_grad_() for _ in range(2))
    yours.data.copy_(mine.data)
    weights = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    for _ in range(2):
        with SyncBatchNorm(Group()):
            outputs = ours(mine)
        expected = theirs(yours)
        torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    (outputs * weights).sum().backward()
    (expected * weights).sum().backward()
    assert mine.grad is not None
    torch.testing.assert_close(mine.grad, yours.grad, rtol=1e-10, atol=1e-12)
    for found, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found.grad, reference.grad, rtol=1e-10, atol=1e-12)
    statistics = zip(ours.buffers(), theirs.buffers(), strict=True)
    assert all(torch.allclose(found, reference, rtol=1e-12, atol=1e-12) for found, reference in statistics)


def test_in_eval_mode_nothing_is_shared() -> None:
    norm = nn.BatchNorm2d(3).eval()
    inputs = torch.randn(2, 3, 4, 4)
    with SyncBatchNorm(Group()):
        assert torch.equal(norm(inputs), norm(inputs))
    assert torch.equal(norm.running_mean, torch.zeros(3)) if norm.running_mean is not None else False


@pytest.mark.parametrize("offset", [1.0, 100.0])
def test_bfloat16_loses_only_the_rounding_of_its_outputs(offset: float) -> None:
    """Although mean / deviation is large, where rounding scale and shift themselves would shift every output."""
    torch.manual_seed(0)
    inputs = (torch.randn(64, 4, 8, 8) + offset).bfloat16()
    norm = nn.BatchNorm2d(4)
    with SyncBatchNorm(Group()), torch.autocast("cpu", torch.bfloat16):
        outputs = norm(inputs)
    exact = nn.BatchNorm2d(4).double()(inputs.double())
    assert outputs.dtype == torch.bfloat16
    # Half of a unit in the last of 8 bits, and a little for float32.
    assert ((outputs.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-4).all()


class Threads(Group):
    """Two processes, played by two threads."""

    def __init__(self, rank: int, barrier: Barrier, slots: list[list[Tensor]]) -> None:
        super().__init__(Ranks(rank, 2))
        self.barrier, self.slots = barrier, slots

    def total(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        self.slots[self.ranks.rank] = list(tensors)
        self.barrier.wait(60)
        sums = [first + second for first, second in zip(*self.slots, strict=True)]
        self.barrier.wait(60)
        return sums


def test_uneven_pieces_of_two_processes_are_one_batch() -> None:
    """Outputs, running statistics, and gradients, to which the variance and the other process's loss belong."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(3, eps=1e-2).double() for _ in range(3)]
    whole = 2 * torch.randn(8, 3, 2, 2, dtype=torch.float64) + torch.linspace(0, 5, 8)[:, None, None, None]
    weights = torch.randn(8, 3, 2, 2, dtype=torch.float64)
    pieces = [whole[:5].clone().requires_grad_(), whole[5:].clone().requires_grad_()]
    barrier, slots = Barrier(2), [list[Tensor](), list[Tensor]()]

    def run(rank: int) -> Tensor:
        with SyncBatchNorm(Threads(rank, barrier, slots)):
            outputs: Tensor = norms[rank](pieces[rank])
        (outputs * weights.split([5, 3])[rank]).sum().backward()
        return outputs.detach()

    with ThreadPoolExecutor(2) as pool:
        found = torch.cat(list(pool.map(run, range(2))))
    together = whole.clone().requires_grad_()
    expected = norms[2](together)
    (expected * weights).sum().backward()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-11, atol=1e-12)
    slopes = torch.cat([piece.grad for piece in pieces if piece.grad is not None])
    torch.testing.assert_close(slopes, together.grad, rtol=1e-9, atol=1e-11)
    for norm in norms[:2]:
        for mine, reference in zip(norm.buffers(), norms[2].buffers(), strict=True):
            torch.testing.assert_close(mine, reference, rtol=1e-11, atol=1e-12)
