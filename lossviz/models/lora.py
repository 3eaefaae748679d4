"""Low-rank updates of a network's weights, by peft."""

import warnings
from collections.abc import Collection
from importlib import import_module

from torch import nn

from lossviz.config.model import Lora
from lossviz.errors import Refusal, RequestError, first_line, needing_extra


def add_lora(model: nn.Module, config: Lora, new: Collection[str]) -> None:
    """Freeze a network, and give its layers trainable updates lora_A and lora_B, in place.

    lora_A is drawn from torch's global generator, and lora_B is zero: the network computes what it did.

    Args:
        model: the network.
        config: rank, scale, layers.
        new: names of parameters that nobody has trained yet, such as those of a new head: they stay trainable.

    Raises:
        RequestError: peft is not installed, or has no update for these layers.
    """
    with needing_extra("transformers", "model.lora"):
        peft = import_module("peft")
    targets = config.targets if isinstance(config.targets, str) else list(config.targets)
    # By their own names, before those of layers change.
    untrained = [parameter for name, parameter in model.named_parameters() if name in new]
    heads = [name.rpartition(".")[0] for name in new]
    try:
        settings = peft.LoraConfig(
            r=config.r, lora_alpha=config.alpha, target_modules=targets, exclude_modules=heads or None
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says of GPT-2's transposed layers it sets right itself
            peft.inject_adapter_in_model(settings, model)
    except Exception as error:  # it has many ways to refuse
        accepted = "names, or ends of names, of linear layers; or all-linear"
        given = None if isinstance(targets, str) else tuple(targets)
        raise RequestError(Refusal("model.lora.targets", first_line(error), given, accepted)) from error
    for parameter in untrained:
        parameter.requires_grad_(True)
