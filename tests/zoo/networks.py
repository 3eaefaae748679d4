"""Networks as people write them, each odd in one way: (N, 3, 8, 8) to four classes unless it says otherwise."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tests.zoo.normalizations import PlainTensors, Reassigned, StateInDict

CLASSES = 4
Wrap = Callable[[nn.Module], nn.Module]


class Net(nn.Module):
    """Two convolutions, each normalised, and a linear layer; what a subclass changes is its oddity."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 4, 3, bias=False), norm(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 5, 3, bias=False), norm(5)
        self.head = nn.Linear(5, CLASSES)

    def features(self, inputs: Tensor) -> Tensor:
        hidden = self.norm1(self.conv1(inputs)).relu()
        outputs: Tensor = self.norm2(self.conv2(hidden)).relu().mean((2, 3))
        return outputs

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.features(inputs))
        return outputs


class InList(Net):
    """Reaches its layers through a list of pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [(self.conv1, self.norm1), (self.conv2, self.norm2)]

    def features(self, inputs: Tensor) -> Tensor:
        for conv, norm in self.blocks:
            inputs = norm(conv(inputs)).relu()
        return inputs.mean((2, 3))


class InDict(Net):
    """Reaches its layers through a dict, and twice through another name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = {"conv": self.conv1, "norm": self.norm1}
        self.again = self.norm2

    def features(self, inputs: Tensor) -> Tensor:
        hidden = self.layers["norm"](self.layers["conv"](inputs)).relu()
        outputs: Tensor = self.again(self.conv2(hidden)).relu().mean((2, 3))
        return outputs


class TwoNames(Net):
    """One BatchNorm without parameters under two names."""

    def __init__(self) -> None:
        super().__init__(lambda channels: nn.BatchNorm2d(channels, affine=False))
        self.same = self.norm1


class ReadsItself(Net):
    """Scales by its own weights, which tracing does not see."""

    def features(self, inputs: Tensor) -> Tensor:
        size = sum(parameter.square().sum() for parameter in self.conv1.parameters())
        return super().features(inputs) * (0.5 + size)


class InPlace(Net):
    """Normalises its inputs where they are."""

    def features(self, inputs: Tensor) -> Tensor:
        inputs.sub_(0.5).div_(0.25)
        return super().features(inputs)


class Forces(Net):
    """Differentiates by its inputs, as networks of energies and forces do."""

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.enable_grad():
            inputs = inputs.requires_grad_()
            outputs = super().forward(inputs)
            (slope,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
        return outputs + slope.flatten(1)[:, :CLASSES]


class ForcesAsInTraining(Net):
    """The same without a word on gradients: it fails where they are off."""

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.requires_grad_()
        outputs = super().forward(inputs)
        (slope,) = torch.autograd.grad(outputs.square().sum(), inputs, create_graph=True)
        return outputs + slope.flatten(1)[:, :CLASSES]


class Tied(Net):
    """Two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight

    def features(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.second(self.first(super().features(inputs)).relu()).relu()
        return outputs


class Frozen(Net):
    """Its first convolution and BatchNorm are not trained."""

    def __init__(self) -> None:
        super().__init__()
        for module in (self.conv1, self.norm1):
            module.requires_grad_(False)


class Wrapped(Net):
    """A convolution whose weight is computed from other parameters."""

    def __init__(self, wrap: Wrap) -> None:
        super().__init__()
        wrap(self.conv1)


class Clipped(torch.autograd.Function):
    """The identity, with a gradient of its own."""

    @staticmethod
    def forward(_ctx: object, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(_ctx: object, *slopes: Tensor) -> Tensor:
        return slopes[0].clamp(-0.1, 0.1)


class OwnFunction(Net):
    """With an autograd function of its own."""

    def features(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = Clipped.apply(super().features(inputs))
        return outputs


class Sequences(nn.Module):
    """(N, L, C) through a transformer's layer, of which a token is no channel; BatchNorm over C."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(12, 8), nn.BatchNorm1d(8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = inputs.reshape(len(inputs), 16, 12)
        hidden = self.norm(self.embed(tokens).transpose(1, 2)).transpose(1, 2)
        outputs: Tensor = self.head(self.layer(hidden).mean(1))
        return outputs


class Recurrent(nn.Module):
    """An LSTM over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.LSTM(24, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden, _ = self.rows(inputs.transpose(1, 2).flatten(2))
        outputs: Tensor = self.head(hidden[:, -1])
        return outputs


class Dropout(Net):
    """Off in eval mode, functional and as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(0.3)

    def features(self, inputs: Tensor) -> Tensor:
        return functional.dropout(super().features(self.drop(inputs)), 0.2, self.training)


def _weight_norm(module: nn.Module) -> nn.Module:
    normed: nn.Module = parametrizations.weight_norm(module)
    return normed


def _orthogonal(module: nn.Module) -> nn.Module:
    return parametrizations.orthogonal(module)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BatchNorm": nn.BatchNorm2d,
    "BatchNorm with a cumulative average": lambda n: nn.BatchNorm2d(n, momentum=None),
    "BatchNorm without statistics": lambda n: nn.BatchNorm2d(n, track_running_stats=False),
    "SyncBatchNorm without parameters": lambda n: nn.SyncBatchNorm(n, affine=False),
    "InstanceNorm": lambda n: nn.InstanceNorm2d(n, affine=True, track_running_stats=True),
    "GroupNorm": lambda n: nn.GroupNorm(1, n),
    "no norm": lambda _: nn.Identity(),
    "re-assigned": Reassigned,
    "of d2l": PlainTensors,
    "state in a dict": StateInDict,
}
# `batch` and `recalibrate` refuse these.
UNKNOWN = {"re-assigned", "of d2l", "state in a dict"}
# Checkpoints do not hold what these keep in attributes.
UNSAVED = {"of d2l", "state in a dict"}
ZOO: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(Net, norm) for name, norm in NORMS.items()},
    "in a list": InList,
    "in a dict": InDict,
    "two names": TwoNames,
    "reads itself": ReadsItself,
    "in place": InPlace,
    "forces": Forces,
    "forces as in training": ForcesAsInTraining,
    "frozen": Frozen,
    "tied": Tied,
    "weight norm": lambda: Wrapped(nn.utils.weight_norm),
    "weight norm, parametrized": lambda: Wrapped(_weight_norm),
    "spectral norm": lambda: Wrapped(nn.utils.spectral_norm),
    "orthogonal": lambda: Wrapped(_orthogonal),
    "sequences": Sequences,
    "recurrent": Recurrent,
    "dropout": Dropout,
    "own function": OwnFunction,
}


def make(name: str) -> nn.Module:
    """A network of the zoo, as a configuration names it."""
    return ZOO[name]()


def data(count: int = 24) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test examples, sorted by class, (count, 3, 8, 8)."""
    targets = torch.arange(count) * CLASSES // count
    halves = [torch.randn(count, 3, 8, 8) + 0.8 * torch.randn(CLASSES, 3, 8, 8)[targets] for _ in range(2)]
    return (halves[0], targets), (halves[1], targets)
