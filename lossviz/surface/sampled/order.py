"""Whether the mean loss over some examples says something of the mean over all of them."""

import torch
from torch import Tensor

from lossviz.data.batch import Batch
from lossviz.data.collated import CollatedSplit
from lossviz.data.iterated import IteratedSplit
from lossviz.data.load import AnySplit
from lossviz.data.split import Split
from lossviz.data.streamed import StreamedSplit
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.engine.trust import EXAMPLES
from lossviz.errors import refuse
from lossviz.seeding import generator
from lossviz.surface.batch_dependence import depends_on_batch, first_half_twice
from lossviz.surface.sampled.sampling import PILOT

KEY = "surface.accuracy"


def shared_order(split: AnySplit, objective: Objective, seed: int, *, by_batch: bool) -> Tensor:
    """The order in which all points go through the examples of a split, without those whose label the loss ignores.

    Args:
        split: all examples.
        objective: the loss, at the checkpoint.
        seed: of the experiment.
        by_batch: whether the network normalises over the batch.

    Raises:
        RequestError: the loss is not a mean over the losses of single examples, or there are too few.
    """
    if by_batch:
        problem = "the outputs for an example depend on the examples beside it, so a sample has another mean than all"
        refuse(KEY, problem, accepted="exact", advice="BatchNorm needs running statistics for it")
    if isinstance(split, IteratedSplit):
        problem = "examples must be chosen, and these come in batches that are gone through in their own order"
        refuse(KEY, problem, accepted="exact", advice="a data.target that returns Datasets")
    if isinstance(split, StreamedSplit) and split.config.corrupt == "skip":
        problem = "the number of examples must be known, and data.corrupt = skip leaves out those that are damaged"
        refuse(KEY, problem, accepted="exact", advice="data.corrupt: stop")
    _refuse_loss(split, objective)
    order = torch.randperm(len(split), generator=generator(seed, "surface order")).to(split.device)
    # Of a loss of the model nobody knows which examples it ignores, and its data may have no targets.
    if isinstance(objective.loss, OfOutputs) and split.targets.dtype == torch.int64 and split.targets.dim() == 1:
        order = order[split.targets[order] != objective.loss.ignored]
    if len(order) < PILOT:
        problem = f"there are {len(order):,} examples, and every point begins with {PILOT}"
        refuse(KEY, problem, accepted="exact", advice="more surface.data.examples; so few are evaluated in no time")
    return order


def _refuse_loss(split: Split | StreamedSplit | CollatedSplit, objective: Objective) -> None:
    index = first_half_twice(min(EXAMPLES, len(split))).to(split.device)
    batch, others = (next(iter(each.batches(EXAMPLES))) for each in (split, split.take(index)))
    losses = objective.losses(objective.model)
    if without_gradients(lambda: losses(batch)).term.counts is not None:
        problem = "the loss has counts beside its sums, so its mean is a ratio, and no mean over examples"
        refuse(KEY, problem, accepted="exact", advice="a loss that is one number for each example has such a mean")

    def seen(some: Batch) -> Tensor:
        return losses(some).term.sums

    if without_gradients(lambda: depends_on_batch(objective.model, seen, batch, others)):
        problem = "the loss of an example depends on the examples beside it, so a sample has another mean than all"
        refuse(KEY, problem, accepted="exact", advice="an own loss must give each example a loss of its own")
