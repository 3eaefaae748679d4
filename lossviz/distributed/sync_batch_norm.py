"""BatchNorm over the examples of several processes, on CPUs too; torch.nn.SyncBatchNorm needs GPUs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lossviz.distributed.group import Group


class SyncBatchNorm(TorchFunctionMode):
    """Within the block, BatchNorm in training mode normalises with the mean and variance over all processes' examples.

    It changes what functional.batch_norm does, not the network, so that checkpoints, noise after BatchNorm and folding
    are as ever; torch.nn.SyncBatchNorm takes the place of layers, and needs CUDA.

    Args:
        group: the processes; all of them compute the same layers in the same order.
    """

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        given = kwargs or {}
        if func is functional.batch_norm and given["training"]:
            inputs, running_mean, running_var = args
            return self._normalise(inputs, running_mean, running_var, given)
        return func(*args, **given)

    def _normalise(
        self, inputs: Tensor, running_mean: Tensor | None, running_var: Tensor | None, given: Mapping[str, Any]
    ) -> Tensor:
        mean, variance, count = self._moments(inputs)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), given["momentum"])
                running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), given["momentum"])
        scale = (variance + given["eps"]).rsqrt()
        if given["weight"] is not None:
            scale = scale * given["weight"]
        shift = -mean * scale
        if given["bias"] is not None:
            shift = shift + given["bias"]
        column = (-1, *(1,) * (inputs.dim() - 2))
        # In short numbers the difference between the mean and the shift that takes it away would be lost.
        wide = _wide(inputs)
        return torch.addcmul(shift.to(wide.dtype).view(column), wide, scale.to(wide.dtype).view(column)).to(
            inputs.dtype
        )

    def _moments(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and biased variance of each channel, (C,) in float64, and the number of values, of all processes."""
        channels, rank, world = inputs.shape[1], self.group.ranks.rank, self.group.ranks.world
        wide = _wide(inputs)
        variance, mean = torch.var_mean(wide, [i for i in range(inputs.dim()) if i != 1], correction=0)
        own = torch.cat([mean, variance, mean.new_tensor([inputs.numel() // channels])]).double()
        table = _Total.apply(functional.pad(own[None], (0, 0, rank, world - 1 - rank)), self.group)
        means, variances, counts = table.split([channels, channels, 1], dim=1)
        count = counts.detach().sum()
        share = counts.detach() / count
        mean = (share * means).sum(dim=0)
        # The variance of a mixture: within the processes, and between them (Chan et al. 1983).
        return mean, (share * (variances + (means - mean).square())).sum(dim=0), count


def _wide(inputs: Tensor) -> Tensor:
    return inputs if inputs.dtype == torch.float64 else inputs.float()


class _Context(Protocol):
    group: Group


class _Total(torch.autograd.Function):
    """The sum over all processes; every one of them hands the slope of its own loss back to all."""

    @staticmethod
    def forward(ctx: _Context, tensor: Tensor, group: Group) -> Tensor:
        ctx.group = group
        (total,) = group.total([tensor])
        return total

    @staticmethod
    def backward(ctx: _Context, *slopes: Tensor) -> tuple[Tensor, None]:
        (total,) = ctx.group.total(slopes)
        return total, None
