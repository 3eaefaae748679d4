"""The gradient of a whole minibatch, from pieces of it: one after another, and on several devices at once."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lossviz.data.minibatches import WHOLE, Minibatches, Part
from lossviz.data.streamed_minibatches import StreamedMinibatches
from lossviz.engine.group import Group
from lossviz.engine.objective import Differential, Objective
from lossviz.engine.setup import Setup
from lossviz.engine.sync_batch_norm import SyncBatchNorm
from lossviz.errors import RequestError


@dataclass(frozen=True)
class Share:
    """What one process computes of every minibatch.

    A minibatch is cut into as many pieces as all processes compute in all: it makes no difference to the sum, nor to
    noise, which of them one process computes after the other, and which several at once.

    Attributes:
        minibatches: by step and piece.
        parts: this process's pieces, one after another; memory for one is enough.
        group: the processes.
        sync_bn: BatchNorm over the pieces that the processes have at the same time; otherwise over each piece.
    """

    minibatches: Minibatches | StreamedMinibatches
    parts: tuple[Part, ...] = (WHOLE,)
    group: Group = field(default_factory=Group)
    sync_bn: bool = False

    def differentiate(self, objective: Objective, step: int) -> Differential:
        """Loss and gradient on the minibatch of a step, the same in all processes.

        g = sum over pieces p of n_p / n * g_p, with n_p of the n examples in piece p.
        """
        examples = self.minibatches.batch_size
        sums: list[Tensor] = []
        for part in self.parts:
            batch = self.minibatches(step, part)
            with SyncBatchNorm(self.group) if self.sync_bn and not self.group.alone else nullcontext():
                # Weighted before the way back: with sync_bn the slopes of all processes meet there.
                here = objective.differentiate(batch, weight=len(batch.targets) / examples)
            found = [here.loss, here.correct.to(here.loss.dtype), *here.gradient]
            # Not in place: two parameters may have one tensor as their gradient.
            sums = list(torch._foreach_add(sums, found)) if sums else found
        loss, right, *gradient = self.group.total(sums)
        return Differential(loss, gradient, right.double())


def share_of(setup: Setup, group: Group) -> Share:
    """The share of one of several processes.

    Raises:
        RequestError: there are not enough examples in a minibatch for so many pieces.
    """
    train, world = setup.train, group.ranks.world
    most = train.batch_size if train.micro_batch == "all" else train.micro_batch
    each = math.ceil(train.batch_size / (world * most))
    pieces = world * each
    apart = world == 1 or not train.sync_bn
    statistics = getattr(setup.config.model, "norm", "none") not in ("none", "noise")
    needed = 2 * pieces if statistics and apart else pieces
    if train.batch_size < needed:
        raise RequestError(
            f"train.batch_size = {train.batch_size}: is too small for {pieces} pieces, {each} for each of {world} "
            f"process(es){', in each of which BatchNorm needs two examples' if needed > pieces else ''}\n"
            f"  accepted: at least {needed}; or fewer processes, or a larger train.micro_batch"
        )
    first = group.ranks.rank * each
    return Share(setup.minibatches(), tuple((first + i, pieces) for i in range(each)), group, train.sync_bn)
