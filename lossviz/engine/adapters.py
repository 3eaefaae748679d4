"""Files of low-rank updates alone, as peft saves them: the network that they belong to is the one that is here."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lossviz.engine.state import tensors_of
from lossviz.errors import refuse
from lossviz.files import read

CONFIG = "adapter_config.json"
# What changes how updates are applied, beside their rank and scale.
_OTHER_WAYS = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern")


def is_adapter(names: Iterable[str]) -> bool:
    """Whether the names of a file's tensors are those of updates."""
    return any(".lora_A." in name for name in names)


def left_out(model: nn.Module) -> dict[str, Tensor]:
    """The network's own tensors that a file of updates leaves out: all that is not trained."""
    trained = {name for name, each in model.named_parameters(remove_duplicate=False) if each.requires_grad}
    return {name: tensor for name, tensor in tensors_of(model).items() if name not in trained}


def check_scale(model: nn.Module, path: Path) -> None:
    """Refuse updates that the network would not apply as they were trained: the file of tensors does not tell.

    Args:
        model: the network.
        path: the folder that peft saved, or the file of tensors in it.

    Raises:
        RequestError: alpha / r is another one, or there are updates of another kind.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file():
        return
    try:
        values = json.loads(read(folder / CONFIG))
        scale = values["lora_alpha"] / values["r"]
        other = [key for key in _OTHER_WAYS if values.get(key)]
    except (ValueError, KeyError, TypeError, ZeroDivisionError, AttributeError):
        refuse(str(folder / CONFIG), "says nothing of r and lora_alpha", accepted="what peft's save_pretrained writes")
    if other:
        problem = f"has updates of another kind, {other[0]}"
        refuse(str(folder / CONFIG), problem, accepted="updates of model.lora, which all have one rank and scale")
    updated: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    scales = [each for module in updated for each in module.scaling.values()]
    if any(abs(each - scale) > 1e-6 * abs(scale) for each in scales):
        problem = f"has alpha / r = {scale:g}, and the network of this configuration {min(scales):g}"
        accepted = f"model.lora with r: {values['r']} and alpha: {values['lora_alpha']}"
        refuse(str(folder / CONFIG), problem, accepted=accepted)
