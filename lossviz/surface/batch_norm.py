"""BatchNorm at a moved point: which statistics a network that somebody moves is evaluated with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lossviz.engine.folding import Folded, duplicate
from lossviz.engine.objective import Objective
from lossviz.models.lp import LpNorm
from lossviz.models.normalization import NoisyBatchNorm1d, NoisyBatchNorm2d

Normalisation = _BatchNorm | LpNorm


@dataclass(frozen=True)
class Mode:
    """A network that follows the parameters of another one, with statistics of its own choice.

    Attributes:
        network: for evaluation at the present parameters; to be asked for anew at every point.
        module: the same function as gradients need it, with the very parameters that are moved; valid once `network`
            was called.
        by_batch: whether the batches that are evaluated decide the numbers.
    """

    network: Callable[[], nn.Module]
    module: nn.Module
    by_batch: bool = False


def frozen(objective: Objective) -> Mode:
    """With the running statistics that the network holds: the checkpoint's, or those that moved with the directions.

    BatchNorm is folded into the weights.
    """
    return Mode(objective.folded.refresh, objective.model)


def by_batch(objective: Objective) -> Mode:
    """With the statistics of each minibatch, biased variance, as in training but without noise or dropout."""
    twin, normalisations = _twin(objective.model)
    for each in normalisations:
        each.train()
    return Mode(lambda: twin, twin, by_batch=True)


def recalibrate(objective: Objective, minibatches: Sequence[Tensor]) -> Mode:
    """With statistics re-estimated at every point: the average over some minibatches of inputs, by their sizes.

    As torch.optim.swa_utils.update_bn does after averaging weights (Izmailov et al. 2018, section 3.2).
    """
    twin, normalisations = _twin(objective.model)
    folded = Folded(twin)
    forward = objective.precisely(twin)

    @torch.no_grad()
    def network() -> nn.Module:
        for each in normalisations:
            each.train()
            for name, buffer in each.named_buffers(recurse=False):
                if name.startswith("running_"):
                    buffer.zero_()  # a momentum of 1 forgets everything but infinity and NaN
        seen = 0
        for inputs in minibatches:
            seen += len(inputs)
            for each in normalisations:
                each.momentum = len(inputs) / seen
            forward(inputs)
        for each in normalisations:
            each.eval()
        return folded.refresh()

    return Mode(network, twin)


def _twin(model: nn.Module) -> tuple[nn.Module, list[Normalisation]]:
    """A copy in eval mode that shares the parameters and has buffers of its own, and its normalisations."""
    twin = duplicate(model, shared=model.parameters()).eval()
    found: list[Normalisation] = []
    for name, module in list(twin.named_modules()):
        norm = _plain(module) if isinstance(module, NoisyBatchNorm1d | NoisyBatchNorm2d | nn.SyncBatchNorm) else module
        if norm is not module:
            twin.set_submodule(name, norm)
        if isinstance(norm, _BatchNorm | LpNorm):
            found.append(norm)
    return twin, found


class _AnyBatchNorm(_BatchNorm):
    """BatchNorm over inputs of any number of dimensions."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def _plain(module: NoisyBatchNorm1d | NoisyBatchNorm2d | nn.SyncBatchNorm) -> _BatchNorm:
    """The same without noise, and of this process alone."""
    kind: type[_BatchNorm] = _AnyBatchNorm
    if isinstance(module, nn.BatchNorm1d):
        kind = nn.BatchNorm1d
    elif isinstance(module, nn.BatchNorm2d):
        kind = nn.BatchNorm2d
    plain = kind(module.num_features, module.eps).to(module.weight.device, module.weight.dtype).eval()
    plain.weight, plain.bias = module.weight, module.bias
    plain.running_mean, plain.running_var = module.running_mean, module.running_var
    return plain
