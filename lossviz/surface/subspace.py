"""The subspace of a scan: the parameters that may move, and the running statistics that move with them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import compress
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from lossviz.config.directions import Selection
from lossviz.engine.point import Vector, dot, squared_norm
from lossviz.errors import Refusal, RequestError, show
from lossviz.models.normalization import NORMS

Kind = Literal["weight", "bias", "norm", "statistic"]


@dataclass(frozen=True, eq=False)
class MovingTensor:
    """One tensor of a network that directions may move.

    Attributes:
        name: its name in the state_dict.
        tensor: the network's own.
        kind: bias and norm, see `_kind`, are what `ignore` names; statistic is a running mean, variance or scale.
        transposed: the number of groups of the transposed convolution whose weight it is; else 0.
    """

    name: str
    tensor: Tensor
    kind: Kind
    transposed: int = 0

    @torch.no_grad()
    def like(self, values: Tensor) -> Tensor:
        """Values on the tensor's device, in its dtype and layout in memory."""
        return torch.empty_like(self.tensor).copy_(values)

    def nothing(self, dtype: torch.dtype | None = None) -> Tensor:
        """Zeros of the tensor's shape that take no memory, and cannot be written to."""
        return torch.zeros((), dtype=dtype or self.tensor.dtype, device=self.tensor.device).expand(self.tensor.shape)


@dataclass(frozen=True, eq=False)
class Subspace:
    """The trainable tensors of a network, of which directions move some.

    A vector (a point or a direction) has one tensor for each of `tensors`, in their order. Where nothing moves, a
    direction is zero and takes no memory. Norms and inner products are over the parameters: running statistics belong
    to no norm and no angle.

    Attributes:
        model: the network.
        tensors: every trainable parameter in the order of `model.parameters()`, and then perhaps running statistics.
        moved: names of those that directions move.
    """

    model: nn.Module
    tensors: tuple[MovingTensor, ...]
    moved: AbstractSet[str]

    @classmethod
    def of(cls, model: nn.Module, statistics: bool = False) -> "Subspace":
        """All of a network.

        Args:
            model: the network.
            statistics: whether the statistics of normalisation layers move with the parameters.
        """
        tensors = (*_parameters(model), *(_statistics(model) if statistics else ()))
        return cls(model, tensors, {each.name for each in tensors})

    def select(self, selection: Selection) -> "Subspace":
        """The part that a selection lets move.

        Running statistics follow `parameters` by their own names, and `ignore` leaves them free: they change
        with the weights before them.

        Raises:
            RequestError: none is left.
        """
        chosen = [e for e in self.tensors if e.kind not in selection.ignore and _named_by(selection, e.name)]
        for statistic in {each.kind == "statistic" for each in self.tensors}:
            if not any((each.kind == "statistic") == statistic for each in chosen):
                raise self._nothing_moves(selection, statistic)
        return self.only({each.name for each in chosen})

    def only(self, names: AbstractSet[str]) -> "Subspace":
        """The part with these names."""
        return replace(self, moved=names)

    @property
    def theta(self) -> list[Tensor]:
        """The network's own tensors: the point where it is."""
        return [each.tensor for each in self.tensors]

    @property
    def movable(self) -> list[bool]:
        """Of each tensor, whether it is moved."""
        return [each.name in self.moved for each in self.tensors]

    @property
    def moved_tensors(self) -> list[Tensor]:
        """The network's own tensors that are moved."""
        return list(compress(self.theta, self.movable))

    @property
    def moved_parameters(self) -> list[Tensor]:
        """The network's own parameters that are moved: what gradients and Hessians of a scan are over."""
        return [each.tensor for each in self.tensors if self._is_moved_parameter(each)]

    def parameters(self, vector: Vector) -> Vector:
        """A vector without its running statistics."""
        if not any(each.kind == "statistic" for each in self.tensors):
            return vector
        return [part for part, each in zip(vector, self.tensors, strict=True) if each.kind != "statistic"]

    def zeros(self, dtype: torch.dtype | None = None) -> list[Tensor]:
        """The vector zero, in the network's dtypes unless one is given; what is moved can be written to."""
        return [
            torch.zeros_like(each.tensor, dtype=dtype) if moves else each.nothing(dtype)
            for each, moves in zip(self.tensors, self.movable, strict=True)
        ]

    def like(self, vector: Iterable[Tensor]) -> list[Tensor]:
        """A vector on the network's device, in its dtypes and layouts."""
        return [
            each.like(part) if moves else each.nothing()
            for each, part, moves in zip(self.tensors, vector, self.movable, strict=True)
        ]

    def spread(self, parts: Vector) -> list[Tensor]:
        """The vector that has these parts for `moved_parameters`, and is zero elsewhere."""
        left = iter(parts)
        return [each.like(next(left)) if self._is_moved_parameter(each) else each.nothing() for each in self.tensors]

    def norm(self, vector: Vector) -> float:
        """|v|_2."""
        return float(squared_norm(self.parameters(vector)).sqrt())

    def dot(self, first: Vector, second: Vector) -> float:
        """<u, v>."""
        return float(dot(self.parameters(first), self.parameters(second)))

    @torch.no_grad()
    def difference(self, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> list[Tensor]:
        """theta_c - theta in what is moved, zero elsewhere.

        theta_c is taken as the network would hold it, so that theta + 1 * difference is theta_c up to one rounding.

        Args:
            state: theta_c, by name.
            dtype: in which to subtract; the network's own unless given.
        """
        apart = self.zeros(dtype)
        for each, part in zip(self.tensors, apart, strict=True):
            if each.name in self.moved:
                part.copy_(state[each.name].to(each.tensor.dtype)).sub_(each.tensor)
        return apart

    def to_tensors(self, directions: Mapping[str, Vector]) -> dict[str, Tensor]:
        """Directions by axis under the names they have on disk: x/<name>, y/<name>."""
        return {
            f"{axis}/{each.name}": part
            for axis, vector in directions.items()
            for each, part in zip(self.tensors, vector, strict=True)
        }

    def from_tensors(self, tensors: Mapping[str, Tensor], axis: str) -> list[Tensor]:
        """The direction of one axis back from `to_tensors`, on the network's device and in its dtypes."""
        return self.like([tensors[f"{axis}/{each.name}"] for each in self.tensors])

    def _is_moved_parameter(self, tensor: MovingTensor) -> bool:
        return tensor.name in self.moved and tensor.kind != "statistic"

    def _nothing_moves(self, selection: Selection, statistic: bool) -> RequestError:
        what = "running statistic" if statistic else "parameter"
        why = ", although surface.batch_norm = interpolate asks for it" if statistic else ""
        names = [each.name for each in self.tensors if (each.kind == "statistic") == statistic]
        shown = [*names[:3], "...", names[-1]] if len(names) > 4 else names
        lines = (
            f"ignore = {show(selection.ignore)}",
            f"parameters.include = {show(selection.parameters.include)}",
            f"parameters.exclude = {show(selection.parameters.exclude)}",
            f"names here: {', '.join(shown)}",
        )
        problem = f"no {what} of the network moves{why}"
        return RequestError(Refusal("surface.directions", problem, advice="\n".join(lines)))


def _parameters(model: nn.Module) -> Iterator[MovingTensor]:
    seen = set()
    for prefix, module in model.named_modules():
        # What a parametrisation (weight norm) computes a tensor from belongs to the layer of that tensor.
        layer = model.get_submodule(f".{prefix}".split(".parametrizations.")[0].removeprefix("."))
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                transposed = layer.groups if isinstance(layer, _ConvTransposeNd) and parameter.dim() > 1 else 0
                yield MovingTensor(name, parameter, _kind(layer, parameter), transposed)


def _kind(layer: nn.Module, parameter: Tensor) -> Kind:
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


def _statistics(model: nn.Module) -> Iterator[MovingTensor]:
    for prefix, module in model.named_modules():
        if isinstance(module, NORMS):
            for name, buffer in module.named_buffers(prefix, recurse=False):
                if buffer.is_floating_point():  # num_batches_tracked counts
                    yield MovingTensor(name, buffer, "statistic")


def _named_by(selection: Selection, name: str) -> bool:
    included, excluded = (
        any(re.search(expression, name) for expression in expressions)
        for expressions in (selection.parameters.include, selection.parameters.exclude)
    )
    return included and not excluded
