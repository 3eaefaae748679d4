"""The loss of an example: the one that the targets suggest, the one that is named, or a person's own."""

from collections.abc import Callable
from typing import Any

from lossviz.config.loss import CrossEntropy, Loss, OwnLoss
from lossviz.engine.losses import cross_entropy, squared_error
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
