"""A copy of a loop's network, which is measured in the place of the loop's own.

What the loop holds is only read. So its parameters keep their versions (a graph that waits for its backward pass stays
valid), their `.grad` and their hooks, and whatever wraps the network (DDP, torch.compile) hears nothing.
"""

import torch
from torch import nn

from lossviz.errors import first_line, refuse
from lossviz.models.duplicate import duplicate
from lossviz.models.misfits import misfit


def copied(model: nn.Module) -> nn.Module:
    """A copy of a network to measure on, in the modes that its modules have; all in training mode if it is not.

    Frozen parameters are shared, as nothing moves them.

    Raises:
        RequestError: it cannot be copied.
    """
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    try:
        with torch.no_grad():
            twin = duplicate(model, frozen)
    except Exception as error:  # the network's own code says how it is copied
        problem = f"cannot be copied, and it is measured on a copy: {first_line(error)}"
        refuse("model", problem, advice="copy.deepcopy(model) must work: keep files, locks and processes out of it")
    # accelerate puts autocast around `forward`, and keeps what it found.
    found = vars(twin).pop("_original_forward", None)
    if found is not None:
        vars(twin)["forward"] = found
    # Lightning puts compiled functions in the place of methods, and keeps them; a copy's call the loop's network.
    for name, method in (vars(twin).get("_compiler_ctx") or {}).items():
        if name.startswith("original_"):
            vars(twin)[name.removeprefix("original_")] = method
    # As after an evaluation, before the loop calls train().
    return twin if twin.training else twin.train()


def check_network(model: nn.Module) -> None:
    """Refuse a network that one process cannot measure alone.

    Raises:
        RequestError: it is none of those that fit, has a part of the weights only, or statistics of all processes.
    """
    found = misfit(model)
    if found is not None:
        refuse("model", found[0], accepted=found[1])
    if any(hasattr(each, "device_mesh") for each in model.parameters()) or "FullyShardedDataParallel" in _classes(
        model
    ):
        refuse("model", "is sharded: each process holds a part of it", accepted="a network that is whole, as in DDP")
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_world_size() > 1 and "SyncBatchNorm" in _classes(model):
        problem = "has SyncBatchNorm, which needs all processes in every pass, and only the first one measures"
        refuse("model", problem, accepted="BatchNorm")


def _classes(model: nn.Module) -> set[str]:
    return {base.__name__ for module in model.modules() for base in type(module).__mro__}
