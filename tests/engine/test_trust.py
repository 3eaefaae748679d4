"""Faster paths are compared with the network."""

import math

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine.objective import Objective
from lossviz.engine.trust import difference, disagreement, relative_difference
from tests.zoo.networks import ReadsItself


def rows(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize(
    ("found", "expected", "apart"),
    [
        (rows(1, -4), rows(1, -4), 0),
        (rows(1, -4), rows(1.5, -4), 0.125),
        (rows(0, 0), rows(0, 0), 0),
        (rows(0, 1), rows(0, 0), math.inf),
        (rows(1, math.nan), rows(1, math.nan), 0),
        (rows(1, math.nan), rows(1, math.inf), 0),
        (rows(1, math.nan), rows(1, 2), math.inf),
        (rows(math.inf), rows(math.nan), 0),
    ],
)
def test_relative_difference(found: Tensor, expected: Tensor, apart: float) -> None:
    assert relative_difference(found, expected) == apart


def test_what_departs_is_told_in_words() -> None:
    assert difference(rows(1, 2), rows(1, 2.1), 0.1) == ""
    assert "0.048 of the largest" in difference(rows(1, 2), rows(1, 2.1), 0.01)
    assert "(1, 2) and not (1, 3)" in difference(rows(1, 2), rows(1, 2, 3), 0.01)

    def breaks(_: Tensor) -> Tensor:
        raise ValueError("no such thing\nmore")

    assert disagreement(breaks, lambda inputs: inputs, rows(1), 0.1) == "it fails: no such thing"


def test_too_little_memory_is_no_disagreement() -> None:
    def breaks(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        disagreement(breaks, lambda inputs: inputs, rows(1), 0.1)


def test_a_copy_that_gives_other_numbers_is_dropped_for_good() -> None:
    """Folding scales the weights that this network reads; at first, where BatchNorm is the identity, by nothing."""
    torch.manual_seed(0)
    model = ReadsItself()
    inputs = torch.randn(8, 3, 8, 8)
    objective = Objective(model)
    with torch.no_grad():
        assert objective.follow((inputs, torch.zeros(8)))() is not model
        model.train()(3 * inputs + 1)
        assert objective.follow((inputs, torch.zeros(8)))() is model
        assert len(objective.doubts) == 1
        assert objective.doubts[0].startswith("BatchNorm is not folded")
        for buffer in model.buffers():
            buffer.fill_(1)
        assert objective.follow((inputs, torch.zeros(8)))() is model
    assert len(objective.doubts) == 1
    assert objective.with_model(nn.Linear(2, 2)).doubts is objective.doubts
