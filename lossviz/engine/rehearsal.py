"""A few examples through a person's own network, data and loss, before anything is written."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lossviz.data.batch import Batch, is_pair, leaves
from lossviz.data.iterated import IteratedSplit
from lossviz.data.load import Dataset
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.graph import operations, refuse_reentrant
from lossviz.engine.losses import OfModel, OfOutputs
from lossviz.engine.memory import is_out_of_memory
from lossviz.engine.objective import Objective
from lossviz.engine.outputs import cross_entropy, squared_error
from lossviz.engine.point import undisturbed
from lossviz.engine.terms import Losses
from lossviz.engine.trust import relative_difference
from lossviz.errors import refuse
from lossviz.user_code.loader import explained

EXAMPLES = 3
# Passes of one network over one batch are computed alike, but for sums whose order a GPU does not keep.
ROUNDINGS = 100


def rehearse(objective: Objective, data: Dataset, differentiable: bool) -> tuple[str, ...]:
    """Check that network, data and loss fit together.

    Args:
        objective: network and loss; the network is thrown away afterwards.
        data: the data.
        differentiable: whether the loss must have a gradient.

    Returns:
        The names of further losses.

    Raises:
        RequestError: they do not; says what gave what.
        WorkError: the network or the loss fails.
    """
    batch = next(iter(data.train.batches(EXAMPLES)))
    objective.model.eval()
    if isinstance(objective.loss, OfModel):
        if data.views:
            accepted = "centre; or a loss(outputs, targets), of what is averaged over the crops"
            refuse(
                "data.evaluation", "a loss of the model calls it with what it gets", given="ten-crop", accepted=accepted
            )
        with explained("while the loss is computed of a batch of the data"):
            return rehearse_closure(objective, batch, differentiable)
    _rehearse_outputs(objective, objective.loss, data, batch, differentiable)
    return ()


def _rehearse_outputs(objective: Objective, loss: OfOutputs, data: Dataset, batch: Batch, differentiable: bool) -> None:
    if not is_pair(batch):
        accepted = "pairs (inputs, target) of tensors; or any batch for a loss whose first parameter is named model"
        refuse(
            f"a batch of the data is {type(batch).__name__}, and the loss takes outputs and targets", accepted=accepted
        )
    _refuse_ignored(loss, data)
    inputs, targets = batch
    with explained(f"while the network computes its outputs for inputs {tuple(inputs.shape)}"):
        outputs = loss.forward(objective.model, objective.precision)(inputs)
    if loss.function is cross_entropy and outputs.dim() > 1 and outputs.shape[1] < data.outputs:
        refuse(
            f"the network has outputs {tuple(outputs.shape)} for {data.outputs} classes",
            accepted="one output for each class",
        )
    if loss.function is squared_error and outputs.shape != targets.shape:
        refuse(
            f"the network has outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}",
            accepted="outputs of that shape",
        )
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"
    with explained(f"while the loss, whose first parameter is not named model, is computed of {shapes}"):
        losses: object = loss(outputs, targets)
    count = len(targets)
    if not isinstance(losses, Tensor):
        refuse(f"the loss of {count} examples is {type(losses).__name__}", accepted="a torch.Tensor, (N,)")
    if losses.shape == ():
        refuse(
            f"the loss of {count} examples is one number", accepted='one for each example, (N,): use reduction="none"'
        )
    if losses.shape != (count,):
        accepted = "one number for each example, (N,): take the mean over the other dimensions"
        refuse(f"the loss of {count} examples is {tuple(losses.shape)}", accepted=accepted)
    if differentiable and not losses.requires_grad:
        refuse(
            "the loss has no gradient",
            accepted="a loss made of differentiable operations, without .item() or .detach()",
        )
    if differentiable:
        refuse_reentrant(losses)


def _refuse_ignored(loss: OfOutputs, data: Dataset) -> None:
    """A training divides by the number of examples of a minibatch: each must count."""
    label = loss.ignored
    for name, split in (("training", data.train), ("test", data.test)):
        # Batches that are gone through one after another are for scans alone.
        known = not (data.regression or isinstance(split, IteratedSplit))
        # Of a map of classes parts may not count; what the mean over the others is, the loss says itself.
        count = int((split.targets == label).sum()) if known and split.targets.dim() == 1 else 0
        if count:
            refuse(
                f"the loss ignores class {label}, which {count:,} of the {len(split):,} {name} examples have",
                accepted="a loss that counts every example, or data without those",
            )


def rehearse_closure(objective: Objective, batch: Batch, differentiable: bool) -> tuple[str, ...]:
    """Check that a loss of the model is a function of the parameters and the batch; leaves no trace.

    Args:
        objective: network and loss; the network is in the mode in which it will be measured, as some losses are there
            in training mode only.
        batch: some examples.
        differentiable: whether the loss must have a gradient.

    Returns:
        The names of its further terms.

    Raises:
        RequestError: it is none; says what it does and what to do instead.
    """
    run = partial(objective.losses(objective.model), batch)
    trains = objective.model.training
    with undisturbed(objective.model, ()):
        with _unchanged(batch), _undrawn(objective.model):
            first = without_gradients(run)
        _refuse_counts(first, differentiable)
        _refuse_graph(run, differentiable)
        second = without_gradients(run)
    for one, other in zip(first.terms, second.terms, strict=True):
        apart = relative_difference(one.sums, other.sums)
        if apart > ROUNDINGS * torch.finfo(one.sums.dtype).eps:
            refuse(
                "the loss",
                f"gives another number at every call{'' if trains else ', in eval mode too'}: {apart:.2g} of the "
                "largest apart",
                advice=f"let what is random or remembered {'be in the model' if trains else 'follow model.training'}",
            )
    return tuple(first.others)


def _refuse_counts(losses: Losses, differentiable: bool) -> None:
    """Refuse counts that are none, as where sums and counts change places, and sums that spoil a gradient."""
    for term in losses.terms:
        if term.counts is not None and bool((term.counts < 0).any()):
            refuse("the loss", "returned counts below 0", accepted="(sums, counts), in this order, each (N,)")
    sums, counts = losses.term
    if differentiable and counts is not None and not bool(sums[counts == 0].isfinite().all()):
        problem = "returned a sum that is not finite for an example that does not count, so the gradient would be NaN"
        refuse("the loss", problem, accepted="finite sums, also where the count is 0", advice="clamp(min=1) a divisor")


def _refuse_graph(run: Callable[[], Losses], differentiable: bool) -> None:
    """Refuse a loss without a gradient, and one whose second call builds on the graph of the first."""
    with torch.enable_grad():
        try:
            term, second = run().term, run().term.sums
        except (MemoryError, RuntimeError) as error:
            if differentiable or not is_out_of_memory(error):
                raise
            return  # a scan needs no graph
    first = term.sums
    if term.counts is not None and term.counts.requires_grad:
        problem = "returned counts that have a gradient"
        accepted = "(sums, counts), in this order, of which the counts do not depend on the parameters"
        refuse("the loss", problem, accepted=accepted, advice="counts.detach(), where the order is right")
    if differentiable and not first.requires_grad:
        accepted = "a loss made of differentiable operations, without .item(), .detach() or torch.no_grad()"
        refuse("the loss has no gradient", accepted=accepted)
    if differentiable:
        refuse_reentrant(first)
    if operations(first) & operations(second):
        advice = "what it keeps from one call to the next (a hidden state, a running mean) needs .detach()"
        refuse("the loss", "keeps the graph of an earlier call, which grows from call to call", advice=advice)


@contextmanager
def _unchanged(batch: Batch) -> Iterator[None]:
    before = _versions(batch)
    try:
        yield
    finally:  # also where it fails: what it took away may be why
        after = _versions(batch)
        changed = [name for name in (*before, *after) if before.get(name) != after.get(name)]
        if changed:
            advice = "work on a copy: clone() a tensor, dict(batch) for a mapping from which entries are taken"
            refuse("the loss", f"changes its batch, which other points see too: {changed[0]}", advice=advice)


def _versions(batch: Batch) -> dict[str, tuple[int, int]]:
    """What shows that an entry was replaced, or a tensor written to."""
    return {
        name: (id(leaf), leaf._version if isinstance(leaf, Tensor) and not leaf.is_inference() else 0)
        for name, leaf in leaves(batch)
    }


@contextmanager
def _undrawn(model: nn.Module) -> Iterator[None]:
    before, trains = _generators(), model.training
    yield
    drawn = " and ".join(name for name, state in _generators().items() if state != before[name])
    if drawn and trains:
        advice = "draw them with torch, whose numbers are the same in all passes of a step"
        refuse("the loss", f"draws random numbers of {drawn}, so it is another function in every pass", advice=advice)
    if drawn and model.training:
        problem = f"sets the network to training mode, in which it draws random numbers of {drawn}"
        refuse("the loss", problem, advice="leave out model.train(), or seed the draws alike in each call")
    if drawn:
        refuse(
            "the loss",
            f"draws random numbers of {drawn} in eval mode, so it is another function at every point",
            advice="draw only while model.training; or from a generator that each call seeds alike, such as "
            "torch.Generator().manual_seed(0); for what a library draws, with torch.random.fork_rng(): "
            "torch.manual_seed(0)",
        )


def _generators() -> dict[str, object]:
    """The states of all global generators."""
    cuda = torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b""
    return {
        "torch": (torch.get_rng_state().numpy().tobytes(), cuda),
        "numpy": str(np.random.get_state(legacy=False)),
        "Python": random.getstate(),
    }
