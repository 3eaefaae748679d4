"""BatchNorm at a moved point: the statistics with which the moved network is evaluated."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from lossviz.config.surface import BatchNormMode
from lossviz.data.batch import Batch
from lossviz.engine.evaluation import without_gradients
from lossviz.engine.objective import Objective
from lossviz.engine.state import steady
from lossviz.errors import refuse
from lossviz.models.duplicate import duplicate
from lossviz.models.lp import LpNorm
from lossviz.models.normalization import NoisyBatchNorm1d, NoisyBatchNorm2d
from lossviz.surface.batch_dependence import depends_on_batch, unknown_norms

# InstanceNorm has a base in common with BatchNorm, and may have running statistics too.
Normalisation = _NormBase | LpNorm


@dataclass(frozen=True)
class BatchNormTreatment:
    """A network that follows the parameters of another one, with statistics of its own choice.

    Attributes:
        network: for evaluation at the present parameters; ask for it again at every point.
        module: the same function as gradients need it, with the very parameters that are moved; valid once `network`
            was called.
        by_batch: whether the batches that are evaluated decide the numbers.
        pairs: the layers and BatchNorms that are one in `network`, by name, where statistics are the network's own or
            move with it; None where they are taken at every point.
    """

    network: Callable[[], nn.Module]
    module: nn.Module
    by_batch: bool = False
    pairs: list[tuple[str, str]] | None = None


def treatment_of(
    mode: BatchNormMode,
    objective: Objective,
    batch: Batch,
    minibatches: Callable[[], Iterable[Batch]],
    key: str = "surface.batch_norm",
) -> BatchNormTreatment:
    """What `surface.batch_norm` says.

    Args:
        mode: frozen, batch, recalibrate or interpolate (statistics then move as the parameters do).
        objective: its network is in eval mode, at the point where the scan begins; it is left as it was.
        batch: some examples of the scan.
        minibatches: of which statistics are re-estimated.
        key: of the mode, for errors.

    Raises:
        RequestError: the network normalises over the batch in a way of its own, which the mode would leave as it is.
    """
    with steady(objective.model):
        if mode != "frozen" and (modules := unknown(objective, batch)):
            refuse(
                key,
                "would leave modules as they are which normalise over the batch in a way of their own: "
                + ", ".join(modules[:3]),
                given=mode,
                accepted="frozen; or BatchNorm of torch.nn in the network",
            )
        if mode == "batch":
            return by_batch(objective)
        return recalibrate(objective, minibatches) if mode == "recalibrate" else frozen(objective, batch)


def frozen(objective: Objective, batch: Batch) -> BatchNormTreatment:
    """Use the running statistics that the network holds: the checkpoint's, or those that moved with the directions.

    BatchNorm is folded into the weights, if that gives the same. BatchNorm without running statistics is as in
    `by_batch`.

    Args:
        objective: its network is at the point where the scan begins.
        batch: some examples of the scan, to look at what the network does with them.
    """
    follow = objective.follow(batch)
    return BatchNormTreatment(follow, objective.model, _depends(objective, follow(), batch), objective.folded)


def by_batch(objective: Objective) -> BatchNormTreatment:
    """Use the statistics of each minibatch, biased variance, as in training but without noise or dropout."""
    twin, normalisations = _twin(objective.model)
    for each in normalisations:
        each.train()
    return BatchNormTreatment(lambda: twin, twin, by_batch=True)


def recalibrate(objective: Objective, minibatches: Callable[[], Iterable[Batch]]) -> BatchNormTreatment:
    """Re-estimate the statistics at every point: the average over some minibatches, by their sizes.

    As torch.optim.swa_utils.update_bn does after averaging weights (Izmailov et al. 2018, section 3.2).
    """
    twin, normalisations = _twin(objective.model)
    forward = objective.outputs(twin)
    first = next(iter(minibatches()))
    sizes = [without_gradients(partial(objective.examples, twin, batch)) for batch in minibatches()]

    def estimate() -> None:
        for each in normalisations:
            each.train()
            for name, buffer in each.named_buffers(recurse=False):
                if name.startswith("running_"):
                    buffer.zero_()  # a momentum of 1 forgets everything but infinity and NaN
        seen = 0
        for batch, size in zip(minibatches(), sizes, strict=True):
            seen += size
            for each in normalisations:
                each.momentum = size / seen
            forward(batch)
        for each in normalisations:
            each.eval()

    # All of it again where gradients turn out to be needed: a pass that fails half-way has updated some statistics.
    without_gradients(estimate)
    follow = objective.with_model(twin).follow(first)
    depends = _depends(objective, follow(), first)

    def network() -> nn.Module:
        without_gradients(estimate)
        return follow()

    return BatchNormTreatment(network, twin, depends)


def _depends(objective: Objective, network: nn.Module, batch: Batch) -> bool:
    forward = objective.outputs(network)
    return without_gradients(lambda: depends_on_batch(network, forward, batch))


def unknown(objective: Objective, batch: Batch) -> list[str]:
    """Modules that normalise over the batch and that `by_batch` and `recalibrate` do not know.

    Args:
        objective: of the network, which is left as it was.
        batch: real examples.
    """
    known = [module for module in objective.model.modules() if isinstance(module, Normalisation)]
    return unknown_norms(objective.model, known, objective.outputs(objective.model), batch)


def _twin(model: nn.Module) -> tuple[nn.Module, list[Normalisation]]:
    """A copy in eval mode that shares all but the statistics of its normalisations, and these."""
    own = {id(buffer) for module in model.modules() if isinstance(module, Normalisation) for buffer in module.buffers()}
    shared = [buffer for buffer in model.buffers() if id(buffer) not in own]
    twin = duplicate(model, [*model.parameters(), *shared]).eval()
    for module in twin.modules():
        # The very object, and not what stands under its name: a network may call it through a list of its own.
        module.__class__ = _PLAIN.get(type(module), type(module))
    return twin, [module for module in twin.modules() if isinstance(module, Normalisation)]


class _AnyBatchNorm(_BatchNorm):
    """BatchNorm over inputs of any number of dimensions."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


# The same without noise, and of this process alone.
_PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    NoisyBatchNorm1d: nn.BatchNorm1d,
    NoisyBatchNorm2d: nn.BatchNorm2d,
    nn.SyncBatchNorm: _AnyBatchNorm,
}
