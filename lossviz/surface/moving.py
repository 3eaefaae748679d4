"""What a scan moves: a network's parameters, and its running statistics where they move with them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from lossviz.config.directions import Selection
from lossviz.engine.point import Vector
from lossviz.errors import RequestError
from lossviz.models.lp import LpNorm

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, LpNorm)


@dataclass(frozen=True, eq=False)
class Coordinate:
    """One tensor of a network that a scan moves.

    Attributes:
        name: its name in the state_dict.
        tensor: the network's own.
        kind: bias and norm, see `_kind`, are what `ignore` names; statistic is a running mean, variance or scale.
        transposed: the number of groups of the transposed convolution whose weight it is; else 0.
    """

    name: str
    tensor: Tensor
    kind: Literal["weight", "bias", "norm", "statistic"]
    transposed: int = 0

    @torch.no_grad()
    def like(self, values: Tensor) -> Tensor:
        """Values on the tensor's device, in its dtype and layout in memory."""
        return torch.empty_like(self.tensor).copy_(values)


def moving(model: nn.Module, statistics: bool) -> list[Coordinate]:
    """Every trainable parameter in the order of `model.parameters()`, and then perhaps running statistics.

    Args:
        model: the network.
        statistics: whether the statistics of normalisation layers move with the parameters.
    """
    return [*_parameters(model), *(_statistics(model) if statistics else ())]


def _parameters(model: nn.Module) -> Iterator[Coordinate]:
    seen = set()
    for prefix, module in model.named_modules():
        # What a parametrisation (weight norm) computes a tensor from belongs to the layer of that tensor.
        layer = model.get_submodule(f".{prefix}".split(".parametrizations.")[0].removeprefix("."))
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                transposed = layer.groups if isinstance(layer, _ConvTransposeNd) and parameter.dim() > 1 else 0
                yield Coordinate(name, parameter, _kind(layer, parameter), transposed)


def _kind(layer: nn.Module, parameter: Tensor) -> Literal["weight", "bias", "norm"]:
    """What a parameter is, whatever its name: the code of Li et al. (2018) freezes every tensor of one dimension.

    norm: all of a normalisation layer, and numbers and vectors of a layer that has nothing else, such as a hand-written
    normalisation, PReLU or LayerScale. bias: other numbers and vectors. weight: the rest.
    """
    if isinstance(layer, NORMS):
        return "norm"
    if parameter.dim() > 1:
        return "weight"
    own = [*layer.parameters(recurse=False)]
    if is_parametrized(layer):
        own += layer.get_submodule("parametrizations").parameters()
    return "bias" if any(each.dim() > 1 for each in own) else "norm"


def _statistics(model: nn.Module) -> Iterator[Coordinate]:
    for prefix, module in model.named_modules():
        if isinstance(module, NORMS):
            for name, buffer in module.named_buffers(prefix, recurse=False):
                if buffer.is_floating_point():  # num_batches_tracked counts
                    yield Coordinate(name, buffer, "statistic")


def parameters_of(coordinates: Sequence[Coordinate], vector: Vector) -> list[Tensor]:
    """A vector without its running statistics, which belong to no norm and no angle."""
    return [part for part, each in zip(vector, coordinates, strict=True) if each.kind != "statistic"]


def selected(coordinates: Sequence[Coordinate], selection: Selection) -> set[str]:
    """Names of those that a selection lets move.

    Running statistics follow `parameters` by their own names, and `ignore` leaves them free: they change
    with the weights before them.

    Raises:
        RequestError: none is left.
    """
    chosen = [each for each in coordinates if each.kind not in selection.ignore and _named_by(selection, each.name)]
    for statistic in {each.kind == "statistic" for each in coordinates}:
        if not any((each.kind == "statistic") == statistic for each in chosen):
            raise _nothing_moves(coordinates, selection, statistic)
    return {each.name for each in chosen}


def _named_by(selection: Selection, name: str) -> bool:
    included, excluded = (
        any(re.search(expression, name) for expression in expressions)
        for expressions in (selection.parameters.include, selection.parameters.exclude)
    )
    return included and not excluded


def _nothing_moves(coordinates: Sequence[Coordinate], selection: Selection, statistic: bool) -> RequestError:
    what = "running statistic" if statistic else "parameter"
    why = ", although surface.batch_norm = interpolate asks for it" if statistic else ""
    names = [each.name for each in coordinates if (each.kind == "statistic") == statistic]
    shown = [*names[:3], "...", names[-1]] if len(names) > 4 else names
    return RequestError(
        f"surface.directions: no {what} of the network moves{why}\n"
        f"  ignore = {list(selection.ignore)}\n"
        f"  parameters.include = {list(selection.parameters.include)}\n"
        f"  parameters.exclude = {list(selection.parameters.exclude)}\n"
        f"  names here: {', '.join(shown)}"
    )
