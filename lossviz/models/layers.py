"""The weight layers of a network in the order in which a forward pass calls them, counted from 1."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn, strided
from torch._ops import OpOverload
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

from lossviz.errors import refuse
from lossviz.models.normalization import NORMS

WEIGHTED = (_ConvNd, nn.Linear)
# Modules on the way around a block: in networks named as Li et al.'s, and in those named as torchvision's.
SHORTCUTS = {"shortcut", "downsample"}


@dataclass(frozen=True)
class WeightLayer:
    """A convolution or linear layer with what belongs to it; modules and parameters by their names in the network.

    Attributes:
        number: from 1.
        name: the convolution or linear layer.
        output: the module whose output goes on to the non-linearity (in a residual block through the sum with
            the shortcut): the normalisation or noise that follows, or the layer itself.
        channel: the dimension of that output which counts channels or units.
        parameters: trainable tensors of the layer and of its normalisation.
        earlier: trainable tensors of all modules that are called before the layer.
    """

    number: int
    name: str
    output: str
    channel: int
    parameters: tuple[str, ...]
    earlier: tuple[str, ...]


def weight_layers(
    model: nn.Module, inputs: object, forward: Callable[[Any], object] | None = None
) -> list[WeightLayer]:
    """All convolutions and linear layers that one forward pass calls; those of shortcuts do not count (6n + 2).

    A layer counts once, at its first call. A normalisation belongs to a layer where it is the only one to read the
    layer's output, unchanged or as a view of the whole. (The first normalisation of a DenseNet shares what it reads
    with the concatenation, and a ReLU in between changes it.) Normalisations that a network writes out by hand are
    not known: the output is the layer's own.

    Args:
        model: in the mode that is meant; runs once, so that statistics and random numbers move on.
        inputs: some examples, as the network takes them.
        forward: from these to anything, through the network; the network itself unless given.
    """
    names = {module: name for name, module in model.named_modules()}
    trainable = {tensor: name for name, tensor in model.named_parameters() if tensor.requires_grad}
    flow = _Flow()
    with flow.watching(names):
        (forward or model)(inputs)
    when = {names[module]: i for i, module in enumerate(flow.called)}
    owners = {name: _call_around(name.rpartition(".")[0], when) for name in trainable.values()}
    layers: list[WeightLayer] = []
    for module, made in flow.made.items():
        name = names[module]
        if not SHORTCUTS.isdisjoint(name.split(".")):
            continue
        norm = flow.normalisation(module)
        modules = (module,) if norm is None else (module, norm)
        own = dict.fromkeys(
            trainable[tensor] for each in modules for tensor in each.parameters() if tensor in trainable
        )
        earlier = tuple(each for each, called in owners.items() if called < when[name] and each not in own)
        output, channel = name, _channel_of(module, made)
        if norm is not None:
            output, channel = names[norm], _same_dimension(made, channel, flow.read[norm])
        layers.append(WeightLayer(len(layers) + 1, name, output, channel, tuple(own), earlier))
    return layers


def pick(layers: Sequence[WeightLayer], numbers: Sequence[int]) -> list[WeightLayer]:
    """The weight layers with some numbers.

    Raises:
        RequestError: the network has fewer layers.
    """
    if any(number > len(layers) for number in numbers):
        problem = f"the network has {len(layers)} weight layers"
        refuse("probe.layers", problem, given=tuple(numbers), accepted=f"1 to {len(layers)}")
    return [layers[number - 1] for number in numbers]


class _Flow(TorchDispatchMode):
    """Records one forward pass: which modules it calls, and which of them read the outputs of weight layers.

    Attributes:
        called: modules in the order of their first calls.
        made: the first output of each weight layer, in the order of the calls. Kept, so that no other tensor
            takes its place in memory.
        read: what each normalisation was given first.
    """

    def __init__(self) -> None:
        begin: Callable[[], None] = super().__init__  # untyped in torch
        begin()
        self.called: dict[nn.Module, None] = {}
        self.made: dict[nn.Module, Tensor] = {}
        self.read: dict[nn.Module, Tensor] = {}
        self._inside: list[nn.Module] = []
        self._makers: dict[int | None, nn.Module] = {}
        self._readers: dict[nn.Module, set[nn.Module | None]] = {}

    @contextmanager
    def watching(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Watch the forward pass inside the block."""
        handles = []
        for module in modules:
            handles += [
                module.register_forward_pre_hook(self._enter, with_kwargs=True),
                module.register_forward_hook(self._leave),
            ]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def normalisation(self, module: nn.Module) -> nn.Module | None:
        """The normalisation that alone reads all of what a weight layer gave."""
        readers, made = self._readers.get(module, set()), self.made[module]
        norm = next(iter(readers)) if len(readers) == 1 else None
        given = None if norm is None else self.read.get(norm)
        return norm if given is not None and _memory(given) == _memory(made) and given.numel() == made.numel() else None

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        if not func.is_view:
            for tensor in _tensors((*args, *(kwargs or {}).values())):
                maker = self._makers.get(_memory(tensor))
                if maker is not None:
                    self._readers.setdefault(maker, set()).add(self._inside[-1] if self._inside else None)
        return func(*args, **(kwargs or {}))

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.called.setdefault(module)
        if isinstance(module, NORMS):
            self._inside.append(module)
            for tensor in _tensors((*args, *kwargs.values())):
                self.read.setdefault(module, tensor)

    def _leave(self, module: nn.Module, _: object, output: object) -> None:
        if isinstance(module, NORMS):
            self._inside.pop()
        if isinstance(module, WEIGHTED) and isinstance(output, Tensor) and module not in self.made:
            self.made[module] = output
            self._makers[_memory(output)] = module


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    """Tensors among arguments, also those in a list, as `cat` takes them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _memory(tensor: Tensor) -> int | None:
    """Where a tensor and its views lie; sparse ones lie in several places."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == strided else None


def _call_around(owner: str, when: Mapping[str, int]) -> int:
    """When the module that has a parameter was called, or the nearest one around it that was called at all."""
    while owner and owner not in when:
        owner = owner.rpartition(".")[0]
    return when.get(owner, -1)  # before all of them, where a closure calls parts of the network and never all of it


def _channel_of(module: nn.Module, made: Tensor) -> int:
    """The dimension of channels or units in a weight layer's output: (N, C, ...), or last of (N, ..., C)."""
    return made.dim() - 1 - (len(module.kernel_size) if isinstance(module, _ConvNd) else 0)


def _same_dimension(made: Tensor, channel: int, view: Tensor) -> int:
    """Where a dimension of a tensor is in a view of the tensor."""
    if view.shape == made.shape:
        return channel
    wanted = made.shape[channel], made.stride(channel)
    places = [i for i in range(view.dim()) if (view.shape[i], view.stride(i)) == wanted]
    return places[0] if places else min(channel, view.dim() - 1)
