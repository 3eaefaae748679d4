"""Directions of given examples, without a run."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lossviz.engine.objective import Objective
from lossviz.surface.checkpoints import Checkpoint
from lossviz.surface.directions.sources import Sources


def sources_of(objective: Objective, batches: Sequence[tuple[Tensor, Tensor]], axes: str = "x") -> Sources:
    """Sources whose examples are these, however many are asked for."""

    def nothing(_: str | int) -> Checkpoint:
        raise AssertionError

    return Sources(objective, tuple(axes), Checkpoint("own", Path("own")), nothing, list, lambda _: iter(batches))


def in_batches(inputs: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
