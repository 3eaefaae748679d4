"""The update of a step on a GPU, launched as one CUDA graph."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import is_

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from lossviz.data.minibatches import WHOLE, Minibatch, Part
from lossviz.engine.losses import OfOutputs
from lossviz.engine.objective import Objective
from lossviz.models.normalization import NoiseLayer, NoisyBatchNorm
from lossviz.training.shard import Shard
from lossviz.training.stepper import Stepper

Numbers = tuple[Tensor, ...]
Update = Callable[[Objective, Stepper, Shard, int], Numbers]

# Steps at one learning rate before the step is captured, with that rate in it: libraries choose their algorithms, and
# a schedule that changes the rate at every step is never captured.
STEPS_BEFORE_CAPTURE = 8


class StepGraph:
    """Runs an update, and captures it once as a CUDA graph where replaying it leaves bitwise the same state.

    A step of ResNet-20 on 128 images launches 670 kernels from Python, 12.1 ms on an H200 that is busy for 3.4 ms.

    Args:
        update: loss, accuracy, penalty and terms of a step, and its change of parameters, buffers and optimiser.
        objective: the loss of the network that is trained.
        stepper: its optimiser.
        shard: the minibatches.
        allowed: whether the network keeps its tensors and draws no random numbers; see `capturable`.
    """

    def __init__(self, update: Update, objective: Objective, stepper: Stepper, shard: Shard, *, allowed: bool) -> None:
        self._update, self._objective, self._stepper, self._shard = update, objective, stepper, shard
        self._allowed = allowed
        self._rate: float | None = None
        self._waited = 0
        self._captured: _Captured | None = None

    def __call__(self, step: int) -> Numbers:
        """Train on the minibatch of a step."""
        rate = self._stepper.rate(step)
        if rate != self._rate:
            self._rate, self._waited, self._captured = rate, 0, None
        self._waited += 1
        # Restoring an optimiser's state (as `Stepper.preview` does) may have put other tensors in its place.
        if self._captured is not None and self._captured.uses(self._moments()):
            return self._captured.replay(self._shard.minibatches(step))
        if self._allowed and self._waited > STEPS_BEFORE_CAPTURE:
            return self._capture(step)
        return self._update(self._objective, self._stepper, self._shard, step)

    def _capture(self, step: int) -> Numbers:
        """Capture the update, and trust it if replaying it for this step does what the update itself does."""
        state = self._state()
        before = [tensor.clone() for tensor in state]
        try:
            captured = self._record(step)
            captured.replay(self._shard.minibatches(step))
        except RuntimeError:  # an operation that cannot be captured
            captured = None
        replayed = [tensor.clone() for tensor in state]
        torch._foreach_copy_(state, before)
        numbers = self._update(self._objective, self._stepper, self._shard, step)
        same = all(torch.equal(mine, theirs) for mine, theirs in zip(replayed, state, strict=True))
        self._allowed = captured is not None and same
        self._captured = captured if self._allowed else None
        return numbers

    def _record(self, step: int) -> "_Captured":
        inputs, targets = self._shard.minibatches(step).batch
        fixed = Minibatch((inputs.clone(), targets.clone()), None)
        shard = replace(self._shard, minibatches=_Fixed(fixed, self._shard.minibatches.batch_size))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            numbers = self._update(self._objective, self._stepper, shard, step)
        return _Captured(graph, fixed, numbers, self._moments())

    def _state(self) -> list[Tensor]:
        """All that an update changes."""
        model = self._objective.model
        return [*(each.detach() for each in model.parameters()), *model.buffers(), *self._moments()]

    def _moments(self) -> list[Tensor]:
        return [
            value for each in self._stepper.optimizer.state.values() for value in each.values() if value is not None
        ]


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: Minibatch
    numbers: Numbers
    moments: list[Tensor]

    def uses(self, moments: list[Tensor]) -> bool:
        return len(moments) == len(self.moments) and all(map(is_, moments, self.moments))

    def replay(self, batch: Minibatch) -> Numbers:
        for mine, theirs in zip(self.inputs.batch, batch.batch, strict=True):
            mine.copy_(theirs)
        self.graph.replay()
        return self.numbers


@dataclass
class _Fixed:
    """Minibatches that are always the same tensors."""

    batch: Minibatch
    batch_size: int

    def __call__(self, _step: int, _part: Part = WHOLE, /) -> Minibatch:
        return self.batch


def capturable(objective: Objective, stepper: Stepper, shard: Shard) -> bool:
    """Whether an update may be captured: on CUDA, by SGD, in one piece, of a network that draws no random numbers.

    Not with a loss of the model, which may do anything; nor by Adam, which counts its steps on the CPU.
    """
    model = objective.model
    draws = any(isinstance(module, _DropoutNd | NoiseLayer | NoisyBatchNorm) for module in model.modules())
    alone = shard.group.alone and len(shard.parts) == 1
    on_gpu = all(parameter.is_cuda for parameter in model.parameters())
    of_outputs = isinstance(objective.loss, OfOutputs)
    return of_outputs and on_gpu and alone and not draws and isinstance(stepper.optimizer, torch.optim.SGD)
