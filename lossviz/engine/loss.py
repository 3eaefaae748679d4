"""The loss of an example: the one that the targets suggest, the one that is named, or a person's own."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from lossviz.config.loss import CrossEntropy, Loss, OwnLoss
from lossviz.data.batch import Batch, is_pair, kind
from lossviz.engine import losses
from lossviz.engine.losses import Closure, OfOutputs, first_parameter, loss_of
from lossviz.engine.outputs import PerExample, cross_entropy, squared_error
from lossviz.engine.tokens import ByTargets
from lossviz.errors import refuse
from lossviz.user_code.permissions import Allowed
from lossviz.user_code.targets import load_target


def per_example(config: Loss | None, regression: bool, allowed: Allowed) -> Callable[..., Any]:
    """From outputs (N, ...) and targets (N, ...) to losses (N,); or what `loss.target` names.

    Args:
        config: the `loss` section.
        regression: whether the targets are vectors.
        allowed: whose code may run.

    Raises:
        RequestError: the targets are of another kind, or the function is not allowed, not there, or a class.
        WorkError: the code fails while it is loaded.
    """
    if isinstance(config, OwnLoss):
        return load_target(config.target, config.args, allowed, positional=2)
    if config is not None and isinstance(config, CrossEntropy) == regression:
        there = "vectors" if regression else "classes"
        accepted = "cross-entropy for classes, squared-error for vectors, or loss.target"
        refuse("loss.name", f"the targets of the data are {there}", given=config.name, accepted=accepted)
    return squared_error if regression else cross_entropy


def loss_name(config: Loss | None, regression: bool) -> str:
    """Name of the loss that `per_example` gives: cross-entropy, squared-error or own."""
    if config is not None:
        return config.name
    return "squared-error" if regression else "cross-entropy"


def given_loss(loss: PerExample | Closure | None, *, counts: bool = False) -> losses.Loss:
    """The loss that is an argument in Python: of either kind; None: by the targets. `counts`: see `OfOutputs`."""
    found = loss_of(loss or _by_targets)
    if not isinstance(found, OfOutputs):
        return found
    function = found.function

    @wraps(function)
    def checked(outputs: Tensor, targets: Tensor) -> Tensor:
        try:
            found = function(outputs, targets)
        except Exception as error:
            error.add_note("called with outputs and targets, because its first parameter is not named model")
            raise
        if found.shape != (len(targets),):
            accepted = 'one loss an example, such as torch.nn.functional.cross_entropy(..., reduction="none")'
            refuse("loss", f"gave {tuple(found.shape)} for {len(targets)} examples", accepted=accepted)
        return found

    return (ByTargets if loss is None else OfOutputs)(checked, counts=counts)


def given_loss_name(loss: PerExample | Closure | None, batch: Batch) -> str:
    """Its name: cross-entropy, squared-error or own."""
    return "own" if loss is not None else loss_name(None, regression=batch[1].is_floating_point())


def check_pair(loss: losses.Loss, batch: Batch, subject: str) -> None:
    """Refuse a batch that is not (inputs, targets) where the loss is one of outputs."""
    if isinstance(loss, OfOutputs) and not is_pair(batch):
        accepted = "(inputs, targets), two tensors; or, for batches of any form, loss=f with f(model, batch)"
        given = None if isinstance(loss, ByTargets) else first_parameter(loss.function)
        advice = f"the first parameter of the loss is named {given}; name it model" if given else ""
        refuse(f"{subject}: {kind(batch)}", accepted=accepted, advice=advice)
    if isinstance(loss, OfOutputs) and not batch[1].dim():
        accepted = "batches of examples: torch.utils.data.DataLoader(dataset, batch_size=...)"
        refuse(f"{subject}: one example and its target, as a Dataset gives them", accepted=accepted)


def _by_targets(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of classes, squared error of vectors."""
    if not targets.is_floating_point():
        return cross_entropy(outputs, targets)
    if outputs.shape != targets.shape:
        problem = f"outputs are {tuple(outputs.shape)} and targets {tuple(targets.shape)}: there is no squared error"
        refuse("loss", problem, advice="give the loss, a function of both, or targets of the shape of the outputs")
    return (outputs - targets).square().flatten(1).sum(dim=1)
