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
    """Your own: `loss(outputs, targets, **args)` or `loss(model, batch, **args)`, told apart by the name `model`.

    It returns one loss for each example, (N,). One of the model may also return (sums, counts), each (N,), whose mean
    is sum(sums) / sum(counts), or a mapping from names to losses, of which the first is trained on.
    """

    term: str | None = Field(
        None,
        description="Which loss of a mapping is trained on and drawn. Default: the first.",
    )


Loss = Annotated[CrossEntropy | SquaredError | OwnLoss, Field(discriminator="name")]
