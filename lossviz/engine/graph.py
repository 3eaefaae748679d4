"""The operations that a loss was computed by, as autograd keeps them."""

from typing import Any

from torch import Tensor

from lossviz.errors import refuse


def operations(losses: Tensor) -> set[Any]:
    """The operations that a tensor was computed by; not its leaves, which belong to the network."""
    found, waiting = set[Any](), [losses.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found and node.next_functions:
            found.add(node)
            waiting += [each for each, _ in node.next_functions]
    return found


def refuse_reentrant(losses: Tensor) -> None:
    """Refuse activation checkpointing of the kind that `autograd.grad` cannot go through.

    Its graph hides the parameters within. After a frozen embedding, as with LoRA, nothing fails then, and their
    gradients are zero: a norm was 0.32 instead of 0.43.

    Raises:
        RequestError: there is such a part in the graph.
    """
    if any(node.name() == "CheckpointFunctionBackward" for node in operations(losses)):
        problem = "has reentrant activation checkpointing, which hides the gradients of the parameters within"
        advice = 'in transformers, gradient_checkpointing_kwargs={"use_reentrant": False}'
        refuse("the network", problem, accepted="checkpoint(..., use_reentrant=False)", advice=advice)
