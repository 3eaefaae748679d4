"""Too little memory for a batch: smaller ones, to the same numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine.evaluation import Batches
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import PerExample, cross_entropy
from lossviz.surface.batch_norm import by_batch, frozen
from lossviz.surface.forward import ExecutionPlan, Forward
from lossviz.surface.plane import LossPlane
from lossviz.surface.subspace import Subspace


def batches(inputs: Tensor, targets: Tensor, size: int) -> Batches:
    return lambda: zip(torch.split(inputs, size), torch.split(targets, size), strict=True)


def without_time(found: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in each.items() if name != "seconds"} for each in found]


class Narrow(nn.Module):
    """Memory for so many examples."""

    def __init__(self, room: int, error: Exception) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))
        self.room, self.error = room, error

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.room:
            raise self.error
        return inputs * self.weight


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


def narrow(room: int, error: Exception, size: int, loss: PerExample = cross_entropy) -> tuple[LossPlane, list[str]]:
    objective, said = Objective(Narrow(room, error), loss), list[str]()
    inputs, targets = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    forward = Forward(objective, ExecutionPlan(size), said.append)

    def data() -> Iterable[tuple[Tensor, Tensor]]:
        return batches(inputs, targets, forward.plan.batch_size)()  # of the size that holds now

    direction = {"x": [torch.tensor([1.0, 2.0, -1.0])]}
    subspace = Subspace.of(objective.model)
    treatment = frozen(objective, (inputs[:1], targets[:1]))
    return LossPlane(objective, subspace, direction, treatment, forward, {"": data}), said


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_batch_to_the_same_numbers(error: Exception) -> None:
    small, nothing = narrow(20, error, 3)
    large, said = narrow(3, error, 16)
    assert without_time([large(0.5)]) == without_time([small(0.5)])
    assert large.plain_loss() == small.plain_loss()
    assert large.forward.plan.batch_size == 2
    reasons = [
        f"out of memory: continuing with {n} examples a batch, which may change the last digits" for n in (8, 4, 2)
    ]
    assert said == [f"warning: {reason}" for reason in reasons]
    assert large.forward.plan.attributes()["pace"] == "; ".join(["as configured", *reasons])
    assert nothing == []


def test_the_checkpoint_s_own_evaluation_halves_too() -> None:
    """It is the first thing that a scan evaluates."""
    part, said = narrow(4, ERRORS[0], 16)
    part.plain_loss()
    assert part.forward.plan.batch_size == 4
    assert len(said) == 2


def test_memory_for_nothing_is_an_error() -> None:
    part, _ = narrow(1, ERRORS[0], 4)
    model = part.objective.model
    assert isinstance(model, Narrow)
    model.room = 0
    with pytest.raises(torch.OutOfMemoryError):
        part(0.0)


def test_other_errors_are_not_about_memory() -> None:
    part, said = narrow(1, RuntimeError("a bug"), 4)
    with pytest.raises(RuntimeError, match="a bug"):
        part(0.0)
    assert said == []


def test_batches_that_give_the_statistics_are_not_halved() -> None:
    """Others would be other numbers."""
    part, said = narrow(3, ERRORS[0], 8)
    fixed = replace(part, treatment=by_batch(part.objective))
    with pytest.raises(torch.OutOfMemoryError):
        fixed(0.0)
    assert (said, part.forward.plan.batch_size) == ([], 8)
