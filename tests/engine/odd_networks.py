"""Convolutions and BatchNorms that must not become one layer, each for its own reason."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations


class Net(nn.Module):
    """A convolution and a BatchNorm, and what a subclass does with them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.other = nn.Conv2d(4, 4, 1)


class InOrder(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(inputs))
        return outputs


class DefinedAfterButFedByAnother(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.conv(self.norm(self.other(inputs)))
        return outputs


class WithSomethingBetween(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(inputs).relu())
        return outputs


class LayerTwice(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(self.conv(inputs)))
        return outputs


class NormTwice(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(self.norm(self.other(inputs))))
        return outputs


class ReadByAnother(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        values = self.conv(inputs)
        outputs: Tensor = self.norm(values) + self.other(values)
        return outputs


class ReadInPlace(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        values = self.conv(inputs)
        values.mul_(3)
        outputs: Tensor = self.norm(values)
        return outputs


class OutputTwice(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        values = self.conv(inputs)
        return torch.cat([values, self.norm(values)])


class WeightRead(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(inputs)) * self.conv.weight.norm()
        return outputs


class StatisticRead(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        mean = self.norm.running_mean
        assert mean is not None
        outputs: Tensor = self.norm(self.conv(inputs)) + mean.view(-1, 1, 1)
        return outputs


class SharedWeight(Net):
    def __init__(self) -> None:
        super().__init__()
        self.tied = nn.Conv2d(4, 4, 3, padding=1)
        self.tied.weight = self.conv.weight

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(self.tied(inputs)))
        return outputs


class Branches(Net):
    """Control flow that depends on the numbers."""

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self.conv(inputs)) if inputs.sum() > 0 else self.norm(self.other(inputs))
        return outputs


class Strange(nn.BatchNorm2d):
    """A BatchNorm of somebody else."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).square()


class OwnNorm(InOrder):
    def __init__(self) -> None:
        super().__init__()
        self.norm = Strange(4)


class OwnConvolution(InOrder):
    def __init__(self) -> None:
        super().__init__()
        self.conv = type("Doubled", (nn.Conv2d,), {"forward": lambda self, x: 2 * nn.Conv2d.forward(self, x)})(4, 4, 3)


class Hooked(InOrder):
    """Somebody's function between the two."""

    def __init__(self, hooked: str) -> None:
        super().__init__()
        self.get_submodule(hooked).register_forward_hook(lambda _, __, outputs: outputs + 1)


class PreHooked(InOrder):
    def __init__(self, hooked: str) -> None:
        super().__init__()
        self.get_submodule(hooked).register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,))


class ByKeyword(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(input=self.conv(inputs))
        return outputs


def normed(by: str) -> nn.Module:
    """A convolution whose weight is computed from other parameters."""
    net = InOrder()
    wrap: dict[str, Callable[[nn.Module], nn.Module]] = {
        "weight": nn.utils.weight_norm,
        "parametrized": parametrizations.weight_norm,
        "spectral": nn.utils.spectral_norm,
    }
    wrap[by](net.conv)
    return net


UNFOLDABLE: dict[str, Callable[[], nn.Module]] = {
    "defined after, fed by another": DefinedAfterButFedByAnother,
    "something between": WithSomethingBetween,
    "layer used twice": LayerTwice,
    "norm used twice": NormTwice,
    "read by another": ReadByAnother,
    "changed in place": ReadInPlace,
    "an output itself": OutputTwice,
    "weight read": WeightRead,
    "statistic read": StatisticRead,
    "weight shared": SharedWeight,
    "not traceable": Branches,
    "a norm of one's own": OwnNorm,
    "a convolution of one's own": OwnConvolution,
    "hook of the layer": lambda: Hooked("conv"),
    "hook of the norm": lambda: Hooked("norm"),
    "hook before the layer": lambda: PreHooked("conv"),
    "hook before the norm": lambda: PreHooked("norm"),
    "by keyword": ByKeyword,
    "weight norm": lambda: normed("weight"),
    "weight norm, parametrized": lambda: normed("parametrized"),
    "spectral norm": lambda: normed("spectral"),
    "no running statistics": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(4, 4, 1), nn.BatchNorm2d(4)),
}
