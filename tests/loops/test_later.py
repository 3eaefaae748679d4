"""Batches of later steps."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lossviz.errors import RequestError
from lossviz.loops.later import LaterBatches


def test_a_function_is_asked_for_the_step() -> None:
    assert [LaterBatches(lambda step: step)(5)(step) for step in (6, 8)] == [6, 8]


def test_data_are_gone_through_from_the_start_at_each_measurement_and_again() -> None:
    later = LaterBatches("abc")
    for step in (0, 10):
        of_step = later(step)
        assert [of_step(step + i) for i in (2, 1, 4, 2)] == ["b", "a", "a", "b"]


def test_two_measures_of_a_step_see_the_same_batches_of_a_shuffling_loader() -> None:
    of_step = LaterBatches(DataLoader(TensorDataset(torch.arange(64)), 8, shuffle=True))(0)
    first, second = ([of_step(i)[0].tolist() for i in range(1, 8)] for _ in range(2))
    assert first == second
    assert len({number for each in first for number in each}) == 56


class Counting(DataLoader[Any]):
    """Knows which pass is its last one, as those do that accelerate prepared."""

    passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return super().__iter__()


class Same(DataLoader[Any]):
    """Iterates as torch does, as that of torch_geometric."""


class Fetch:
    """A function from a step to its batch, which has its data as an attribute."""

    dataset = (7, 8)

    def __call__(self, step: int) -> int:
        return self.dataset[step % 2]


def test_classes_of_ones_own() -> None:
    for kind in (Same, Counting):
        assert LaterBatches(kind(TensorDataset(torch.arange(4)), 4))(0)(1)[0].tolist() == [0, 1, 2, 3]
    assert LaterBatches(Fetch())(0)(1) == 8


def test_loaders_that_libraries_prepared_are_refused() -> None:
    loader = DataLoader(TensorDataset(torch.arange(4)))
    accelerate = pytest.importorskip("accelerate", reason="not installed: pip install accelerate")
    fabric = pytest.importorskip("lightning.fabric.wrappers", reason="not installed: pip install lightning")
    for prepared in (accelerate.Accelerator(cpu=True).prepare(loader), fabric._FabricDataLoader(loader)):
        with pytest.raises(RequestError, match=r"counts its passes(?s:.*)accepted: another DataLoader"):
            LaterBatches(prepared)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RequestError, match="only once"):
        LaterBatches(iter([1]))
    with pytest.raises(RequestError, match="persistent_workers"):
        LaterBatches(DataLoader(TensorDataset(torch.arange(4)), num_workers=1, persistent_workers=True))
    with pytest.raises(RequestError, match="batches: there is none"):
        LaterBatches([])(0)(1)
