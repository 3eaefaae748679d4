"""The loop's optimizer: its next step, and what it says of the training."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lossviz.engine.point import Vector
from lossviz.errors import first_line, refuse

KNOWN: Mapping[type[Optimizer], str] = {SGD: "sgd", Adam: "adam", AdamW: "adamw"}
"""Those of the configuration, by class; a subclass may do something else."""
# By name, and not all that have an `.optimizer`: Lookahead has one, and a step of its own.
WRAPPERS = {"AcceleratedOptimizer", "_FabricOptimizer", "LightningOptimizer"}


def bare(optimizer: Optimizer | None) -> Optimizer | None:
    """The optimizer inside those of accelerate, Fabric and Lightning.

    Their `step` is that of a loop: accelerate's does nothing while gradients are accumulated, and a critical sharpness
    was infinite.
    """
    while WRAPPERS.intersection(each.__name__ for each in type(optimizer).__mro__):
        optimizer = getattr(optimizer, "optimizer", None)
    return optimizer


class OptimizerStep:
    """The next step of a loop's optimizer, on the copy of its network; a `NextStep`.

    Args:
        optimizer: the loop's; None where it is not known.
        model: the loop's network.
        twin: its copy.
    """

    def __init__(self, optimizer: Optimizer | None, model: nn.Module, twin: nn.Module) -> None:
        self.optimizer = optimizer
        self.twins = dict(zip(model.parameters(), twin.parameters(), strict=True))
        self.parameters = [parameter for parameter in twin.parameters() if parameter.requires_grad]

    def rate(self, _: int) -> float:
        """The learning rate now, of the first group of parameters; NaN where it is not known."""
        return float("nan") if self.optimizer is None else float(self.optimizer.param_groups[0]["lr"])

    @torch.no_grad()
    def preview(self, gradient: Vector, step: int) -> list[Tensor]:
        """Where a step along a gradient would lead, by a copy of the optimizer and its state.

        Raises:
            RequestError: the optimizer takes no such step.
        """
        assert self.optimizer is not None
        origin = [parameter.detach().clone() for parameter in self.parameters]
        try:
            with torch.enable_grad():  # some optimizers' own code asks for it
                optimizer = copy.deepcopy(self.optimizer, {id(own): twin for own, twin in self.twins.items()})
                moved = set(self.parameters)
                for group in optimizer.param_groups:
                    group["params"] = [each for each in group["params"] if each in moved]
                for parameter, part in zip(self.parameters, gradient, strict=True):
                    parameter.grad = part
                optimizer.step()
            return [parameter.detach().clone() for parameter in self.parameters]
        except Exception as error:
            kind = type(self.optimizer).__name__
            problem = f"{kind} takes no step on a copy of the network at step {step}: {first_line(error)}"
            refuse("optimizer", problem, advice="leave out the measures that need it: shift, critical-sharpness")
        finally:
            for parameter, value in zip(self.parameters, origin, strict=True):
                parameter.copy_(value)
                parameter.grad = None


def penalty_decay(optimizer: Optimizer | None) -> float:
    """The weight decay that is the gradient of a penalty; 0 where it is not known to be one number."""
    if type(optimizer) not in (SGD, Adam) or optimizer is None:
        return 0.0
    decays = {float(group["weight_decay"]) for group in optimizer.param_groups}
    # torch's Adam may be told to decay as AdamW does.
    decoupled = any(group.get("decoupled_weight_decay") for group in optimizer.param_groups)
    return decays.pop() if len(decays) == 1 and not decoupled else 0.0


def made_with(optimizer: Optimizer) -> dict[str, Any]:
    """The arguments that the optimizer was made with, which a schedule does not change: plain values only."""
    values = {name: _plain(given) for name, given in optimizer.defaults.items()}
    return {"name": type(optimizer).__name__, **{name: value for name, value in values.items() if value is not None}}


def initial_group(group: Mapping[str, Any]) -> dict[str, Any]:
    """What a group of parameters is trained with, before torch's schedules: its own values, not the optimizer's."""
    keys = ("lr", "momentum", "nesterov", "betas", "weight_decay")
    values = {**group, "lr": group.get("initial_lr", group["lr"])}
    return {key: _plain(values[key]) for key in keys if key in values}


def training_section(optimizer: Optimizer | None) -> dict[str, Any]:
    """The keys of the `train` section that the optimizer tells.

    None of an optimizer that the section does not know, and none where groups of parameters differ in more than their
    weight decay: no one edge of stability is theirs.
    """
    if optimizer is None or type(optimizer) not in KNOWN:
        return {}
    first, *others = [initial_group(group) for group in optimizer.param_groups]
    if any({**each, "weight_decay": first["weight_decay"]} != first for each in others):
        return {}
    return {"optimizer": KNOWN[type(optimizer)], **first}


def _plain(given: object) -> object:
    """A value as a configuration has it; None where it has none."""
    value = given.item() if isinstance(given, Tensor) and given.numel() == 1 else given
    if isinstance(value, tuple):  # of Adafactor's eps one is None
        return [float(each) for each in value if isinstance(each, int | float | Tensor)]
    return value if isinstance(value, bool | int | float | str) else None
