"""A person's own network."""

from typing import NoReturn

from torch import nn

from lossviz.config.model import OwnModel
from lossviz.errors import refuse
from lossviz.models.duplicate import duplicate
from lossviz.models.misfits import misfit
from lossviz.user_code.loader import explained
from lossviz.user_code.permissions import Allowed
from lossviz.user_code.targets import load_target


def own_network(config: OwnModel, channels: int, classes: int, allowed: Allowed) -> nn.Module:
    """The network that the target returns, with the weights that it drew.

    Raises:
        RequestError: it is not allowed, or returns no network with something to train.
        WorkError: it fails.
    """
    # Of some data nobody knows them: then the function must do without, or have them in model.args.
    known = {name: number for name, number in (("channels", channels), ("classes", classes)) if number}
    make = load_target(config.target, config.args, allowed, **known)
    with explained(f"while {config.target} makes the network"):
        made = make()
    if not isinstance(made, nn.Module):
        _refuse(config, f"returned {type(made).__name__}", "a torch.nn.Module")
    found = misfit(made)
    if found is not None:
        _refuse(config, f"returned a network that {found[0]}", found[1])
    # A copy: a function that returns the same network twice would hand on a trained one.
    with explained("while the network is copied"):
        return duplicate(made)


def _refuse(config: OwnModel, problem: str, accepted: str) -> NoReturn:
    refuse("model.target", problem, given=config.target, accepted=accepted)
