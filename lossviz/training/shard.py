"""The gradient of a whole minibatch, from pieces of it: one after another, and on several devices at once."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import NoReturn

import torch
from torch import Tensor, nn

from lossviz.config.train import Train
from lossviz.data.minibatches import WHOLE, ByStep, Part
from lossviz.distributed.group import Group
from lossviz.distributed.sync_batch_norm import SyncBatchNorm
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.engine.terms import Term
from lossviz.errors import refuse
from lossviz.models.lp import LpNorm
from lossviz.models.normalization import uses_batch_statistics


@dataclass(frozen=True)
class Gradient:
    """Loss and gradient on a whole minibatch, on the device.

    Attributes:
        loss: its mean.
        gradient: of that.
        correct: how many class predictions are right, float64.
        terms: the means of the further losses, float64.
    """

    loss: Tensor
    gradient: list[Tensor]
    correct: Tensor
    terms: list[Tensor]


@dataclass(frozen=True)
class Shard:
    """The part of every minibatch that one process computes.

    A minibatch is cut into as many pieces as all processes compute in all: it makes no difference to the sum, nor to
    noise, which of them one process computes after the other, and which several at once.

    Attributes:
        minibatches: by step and piece.
        parts: this process's pieces, one after another; memory for one is enough.
        group: the processes.
        sync_bn: BatchNorm over the pieces that the processes have at the same time; otherwise over each piece.
    """

    minibatches: ByStep
    parts: tuple[Part, ...] = (WHOLE,)
    group: Group = field(default_factory=Group)
    sync_bn: bool = False

    def differentiate(self, objective: Objective, step: int) -> Gradient:
        """Loss and gradient on the minibatch of a step, the same in all processes.

        g = sum over pieces p of w_p / w * g_p, with the weights w_p of the pieces' means and w of all together: the
        numbers of their examples, or the sums of their counts.
        """
        if self.parts == (WHOLE,) and self.group.alone:
            here = objective.differentiate(self.minibatches(step))
            terms = [total / weight for total, weight in map(_sums, here.losses.others.values())]
            return Gradient(here.loss, here.gradient, here.losses.correct, terms)
        examples = self.minibatches.batch_size
        sums: list[Tensor] = []
        for part in self.parts:
            batch = self.minibatches(step, part)
            with SyncBatchNorm(self.group) if self.sync_bn and not self.group.alone else nullcontext():
                # Weighted before the way back: with sync_bn the slopes of all processes meet there.
                here = objective.differentiate(batch, examples=examples)
            losses = here.losses
            numbers = [part for term in losses.terms for part in _sums(term)]
            found = [here.loss, losses.correct.to(here.loss.dtype), torch.stack(numbers), *here.gradient]
            # Not in place: two parameters may have one tensor as their gradient.
            sums = list(torch._foreach_add(sums, found)) if sums else found
        loss, right, totals, *gradient = self.group.total(sums)
        (_, weight), *others = totals.view(-1, 2)
        if not isinstance(objective.loss, OfOutputs):  # of which each example weighs 1
            share = weight / examples
            loss, gradient = loss / share, list(torch._foreach_div(gradient, share.to(loss)))
        return Gradient(loss, gradient, right.double(), [total / each for total, each in others])


def _sums(term: Term) -> tuple[Tensor, Tensor]:
    """What the mean of a term is the quotient of, float64."""
    total = term.sums.detach().double().sum()
    return total, torch.as_tensor(term.weight, dtype=torch.float64, device=total.device)


def shard_of(train: Train, minibatches: ByStep, group: Group, network: nn.Module) -> Shard:
    """The shard of one of several processes.

    Args:
        train: the `train` section.
        minibatches: whole, by step.
        group: the processes.
        network: that is trained.

    Raises:
        RequestError: there are not enough examples in a minibatch for so many pieces, or sync_bn does not go with the
            network.
    """
    world = group.ranks.world
    together = train.sync_bn and not group.alone
    if together and not synchronisable(network):
        problem = "is for BatchNorm, and the network normalises by l_p norms"
        refuse("train.sync_bn", problem, given=True, accepted="false, where each process normalises its own examples")
    least = 2 if uses_batch_statistics(network) and not together else 1
    each = pieces_each(train, world)
    if train.batch_size < least * world * each:
        _refuse_few(train, world, least)
    first = group.ranks.rank * each
    parts = tuple((first + i, world * each) for i in range(each))
    return Shard(minibatches, parts, group, train.sync_bn)


def synchronisable(network: nn.Module) -> bool:
    """Whether sync_bn reaches all statistics that a network takes of a minibatch."""
    return not any(isinstance(module, LpNorm) for module in network.modules())


def pieces_each(train: Train, world: int) -> int:
    """Number of pieces of a minibatch that each of `world` processes computes, one after another."""
    most = train.batch_size if train.micro_batch == "all" else train.micro_batch
    return math.ceil(train.batch_size / (world * most))


def processes(count: int) -> str:
    """`1 process`, `2 processes`."""
    return f"{count} process" if count == 1 else f"{count} processes"


def _refuse_few(train: Train, world: int, least: int) -> NoReturn:
    """Refuse pieces with too few examples, and say which key to change."""
    size = train.batch_size
    needs = "BatchNorm needs two examples in each" if least == 2 else "each needs one example"
    if size < least * world:
        fewer = f", or at most {processes(size // least)}" if size >= least else ""
        problem = f"is too small for {processes(world)}: {needs}"
        refuse("train.batch_size", problem, given=size, accepted=f"at least {least * world}{fewer}")
    pieces = world * pieces_each(train, world)
    enough = next(most for most in range(1, size + 1) if size >= least * world * math.ceil(size / (world * most)))
    problem = f"cuts a minibatch of {size} into {pieces} pieces: {needs}"
    refuse("train.micro_batch", problem, given=train.micro_batch, accepted=f"at least {enough}, or all")
