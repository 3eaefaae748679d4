"""The `loss` section: the loss of one example."""

from typing import Annotated, Literal

from pydantic import Field

from lossviz.config.own import Own
from lossviz.config.section import Section


class CrossEntropy(Section):
    """-log softmax(outputs)[class], in nats; for targets that are classes."""

    name: Literal["cross-entropy"]


class SquaredError(Section):
    """|outputs - target|^2; for targets that are vectors."""

    name: Literal["squared-error"]


class OwnLoss(Own):
    """Your own: the target is the function `loss(outputs, targets, **args)`, and returns one loss per example, (N,)."""


Loss = Annotated[CrossEntropy | SquaredError | OwnLoss, Field(discriminator="name")]
