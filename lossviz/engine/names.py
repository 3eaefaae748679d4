"""The names of a network's tensors in files: as the network has them, or with what was around the network."""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from lossviz.errors import either

# Wrappers that DataParallel and torch.compile leave in names.
WRAPPERS = ("module", "_orig_mod")


class AmbiguousError(ValueError):
    """A file holds a network under several names; the message says which."""


def bare(name: str) -> str:
    """The name without wrappers of the whole network.

    Example:
        >>> bare("module._orig_mod.features.module.0.weight")
        'features.module.0.weight'
    """
    head, dot, rest = name.partition(".")
    return bare(rest) if dot and head in WRAPPERS else name


def renamed(there: Mapping[str, Tensor], own: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, str]:
    """Own names for the names in a file.

    Names of wrappers count nowhere, nor what lies beside one of the whole network (`n_averaged` of AveragedModel).
    Where the network itself is not found, it may be an attribute of something else (`model.` of Lightning,
    `base_model.`), and all beside it is left out; or a part of the network has saved itself, and lacks the beginning of
    the names.

    Args:
        there: tensors of the file.
        own: tensors of the network.
        tied: other names of its tied tensors, with their first names.

    Raises:
        AmbiguousError: the network is found several times.

    Example:
        >>> import torch
        >>> weight = torch.zeros(2)
        >>> renamed({"net.module.weight": weight, "loss.scale": weight}, {"weight": weight}, {})
        {'net.module.weight': 'weight'}
    """
    spelled = {_unwrapped(name): name for name in own}
    names = {name: _unwrapped(name) for name in there}
    first = {name: tied.get(name, name) for name in own if not name.endswith("num_batches_tracked")}

    def attempt(drop: str = "", add: str = "") -> dict[str, str]:
        inside = {name: add + each.removeprefix(drop) for name, each in names.items() if each.startswith(drop)}
        return {name: name if name in own else spelled.get(each, each) for name, each in inside.items()}

    def complete(found: Mapping[str, str]) -> bool:
        fits = {mine for name, mine in found.items() if mine in own and own[mine].shape == there[name].shape}
        return {first.get(mine) for mine in fits} >= set(first.values())

    plain = attempt()
    wrapped = {name: mine for name, mine in plain.items() if bare(name) != name and name not in own}
    if complete(wrapped):
        return {name: mine for name, mine in plain.items() if name in wrapped or mine in own}
    if complete(plain):
        return plain
    around, missing = _prefixes(names.values(), first)
    found = {prefix: attempt(prefix) for prefix in sorted(around)}
    whole = {prefix: each for prefix, each in found.items() if complete(each)}
    # An average of the weights that lies beside the weights.
    chosen = [prefix for prefix in whole if not re.search(r"(\b|_)ema(\b|_)", prefix)] or list(whole)
    if len(chosen) > 1:
        raise AmbiguousError(either(chosen))
    best = [*(whole[prefix] for prefix in chosen), *filter(complete, (attempt(add=each) for each in sorted(missing)))]
    # Where nothing fits, the nearest: for the difference that is reported.
    return best[0] if best else plain if own.keys() & plain.values() else max(found.values(), key=len, default=plain)


def _prefixes(names: Collection[str], first: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """What may stand before the names of a file, and what they may lack, by those that may be of one tensor."""
    anchor = next(iter(first.values()))
    ends = [_unwrapped(name) for name in first if first[name] == anchor]
    around = {each.removesuffix(end) for end in ends for each in names if each.endswith(f".{end}")}
    missing = {end.removesuffix(each) for end in ends for each in names if end.endswith(f".{each}")}
    return around, missing


def _unwrapped(name: str) -> str:
    """The name without wrappers anywhere: `features.module.0.weight` is `features.0.weight` in parallel.

    Also without the name of low-rank updates, which peft leaves out of its files: `lora_A.default.weight`.
    """
    return ".".join(part for part in name.split(".") if part not in (*WRAPPERS, "default"))
