"""Three examples through a person's own network, data and loss, before anything is written."""

from torch import Tensor

from lossviz.data.load import Dataset
from lossviz.engine.evaluation import ignored_label
from lossviz.engine.objective import Objective, cross_entropy, squared_error
from lossviz.errors import refuse
from lossviz.user_code.loader import explained

EXAMPLES = 3


def rehearse(objective: Objective, data: Dataset, differentiable: bool) -> None:
    """Check that network, data and loss fit together.

    Args:
        objective: network and loss; the network is thrown away afterwards.
        data: the data.
        differentiable: whether the loss must have a gradient.

    Raises:
        RequestError: they do not; says what gave what.
        WorkError: the network or the loss fails.
    """
    _refuse_ignored(objective, data)
    inputs, targets = next(iter(data.train.batches(EXAMPLES)))
    with explained(f"while the network computes its outputs for inputs {tuple(inputs.shape)}"):
        outputs: object = objective.precisely(objective.model.eval())(inputs)
    if not isinstance(outputs, Tensor):
        refuse(f"the network returns {type(outputs).__name__}", accepted="one torch.Tensor, one row an example")
    if objective.loss is cross_entropy and outputs.dim() > 1 and outputs.shape[1] < data.outputs:
        refuse(
            f"the network has outputs {tuple(outputs.shape)} for {data.outputs} classes",
            accepted="one output for each class",
        )
    if objective.loss is squared_error and outputs.shape != targets.shape:
        refuse(
            f"the network has outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}",
            accepted="outputs of that shape",
        )
    with explained(f"while the loss is computed of outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"):
        losses: object = objective.loss(outputs, targets)
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


def _refuse_ignored(objective: Objective, data: Dataset) -> None:
    """A training divides by the number of examples of a minibatch: each must count."""
    label = ignored_label(objective.loss)
    for name, split in (("training", data.train), ("test", data.test)):
        count = 0 if data.regression else int((split.targets == label).sum())
        if count:
            refuse(
                f"the loss ignores class {label}, which {count:,} of the {len(split):,} {name} examples have",
                accepted="a loss that counts every example, or data without those",
            )
