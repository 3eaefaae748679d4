"""How the forward passes of a scan are done: batch size and compilation, chosen by measurement."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from lossviz.data.batch import Batch
from lossviz.data.split import arranged
from lossviz.engine.backend import computes_bfloat16, evaluation_batch
from lossviz.engine.evaluation import evaluate, without_gradients
from lossviz.engine.losses import OfOutputs
from lossviz.engine.memory import is_out_of_memory
from lossviz.engine.objective import Objective
from lossviz.engine.terms import Losses
from lossviz.engine.trust import difference
from lossviz.errors import Refusal, WorkError, first_line

BatchesOf = Callable[[int], Iterable[Batch]]
"""Batches of a size."""

# Another batch size must be this much faster than the usual one: scans of one machine should agree to the last bit.
WORTH_CHANGING = 1.1
# Below this, choosing would take longer than what is won.
WORTH_MEASURING_S = 30.0
# torch.compile of the 57 layers of ResNet-56 took 27 s on two Zen 4 cores and made a forward pass 1.14 x faster.
COMPILING_A_LAYER_S = 0.5
WON_BY_COMPILING = 0.12
# Of bfloat16: 2.6 x on ResNet-56 with avx512_bf16 and amx_bf16.
WORTH_A_LOW_PRECISION = 1.5


@dataclass(frozen=True)
class ExecutionPlan:
    """Batch size and compilation, decided once for a scan: all its points, workers and restarts share it.

    Attributes:
        batch_size: examples in a forward pass.
        compiled: whether the forward pass is compiled.
        why: how that was decided.
        low_precision: whether a sampled scan evaluates in bfloat16 what it corrects by a part in full precision.
    """

    batch_size: int
    compiled: bool = False
    why: str = "as configured"
    low_precision: bool = False

    @classmethod
    def saved(cls, attributes: Mapping[str, str | int | float]) -> "ExecutionPlan":
        """The plan that the attributes of a result file hold."""
        low = bool(attributes.get("low_precision", 0))
        return cls(int(attributes["batch_size"]), bool(attributes["compiled"]), str(attributes["pace"]), low)

    def attributes(self) -> dict[str, str | int | float]:
        """The same as attributes of a result file."""
        found: dict[str, str | int | float] = {
            "batch_size": self.batch_size,
            "compiled": int(self.compiled),
            "pace": self.why,
        }
        return {**found, "low_precision": 1} if self.low_precision else found


class Forward:
    """From a network to its losses of a batch, in the objective's precision, perhaps compiled.

    A loss of the model calls the network itself, in batches of any form: it is not compiled.

    Args:
        objective: gives the precision.
        plan: batch size and whether to compile. A compiled pass knows one size: smaller batches are filled up.
        say: told when compiling is not possible or gives other numbers, and of too little memory.
        beside: whether another one is used too; the first one forgets what was compiled before.
    """

    def __init__(
        self,
        objective: Objective,
        plan: ExecutionPlan,
        say: Callable[[str], None] = lambda _: None,
        *,
        beside: bool = False,
    ) -> None:
        self._objective, self.plan, self._say, self._beside = objective, plan, say, beside
        self._compiled: dict[nn.Module, Callable[[Batch], Losses]] = {}

    def halve(self) -> None:
        """Continue with batches of half the size."""
        self.take_batches_of(max(1, self.plan.batch_size // 2))
        size = f"continuing with {self.plan.batch_size} examples a batch"
        self.mention([f"out of memory: {size}, which may change the last digits"])

    def take_batches_of(self, batch_size: int) -> None:
        """Continue with batches of a size; what was compiled for another one is compiled again."""
        if batch_size != self.plan.batch_size:
            self.plan = replace(self.plan, batch_size=batch_size)
            self._compiled.clear()

    def mention(self, doubts: Sequence[str]) -> None:
        """Say what is done otherwise than planned, and keep that with the results."""
        for doubt in doubts:
            self._say(f"warning: {doubt}")
            if doubt not in self.plan.why:
                self.plan = replace(self.plan, why=f"{self.plan.why}; {doubt}")

    def __call__(self, network: nn.Module) -> Callable[[Batch], Losses]:
        """From a batch to its losses; the forward pass of the same network is compiled once."""
        loss = self._objective.loss
        if not self.plan.compiled or not isinstance(loss, OfOutputs):
            return self._objective.losses(network)
        if network not in self._compiled:
            self._compiled[network] = loss.judged(self._compile(loss.forward(network, self._objective.precision)))
        return self._compiled[network]

    def _compile(self, plain: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        if not self._beside:
            torch.compiler.reset()  # one process scans many variants, and the compiler gives up after eight networks
        # Without a GPU, the compiler warns that there is none.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        # On a GPU, kernels of small batches are shorter than their launches: CUDA graphs launch all at once.
        mode = "reduce-overhead" if self._objective.device.type == "cuda" else "default"
        faster: Callable[[Tensor], Tensor] = torch.compile(plain, dynamic=False, mode=mode)
        trusted = False

        def forward(inputs: Tensor) -> Tensor:
            nonlocal trusted
            missing = self.plan.batch_size - len(inputs)
            if not self.plan.compiled or missing < 0:
                return plain(inputs)
            # In the layout of the others: another one would be compiled again.
            full = arranged(torch.cat([inputs, inputs[:1].expand(missing, *inputs.shape[1:])])) if missing else inputs
            try:
                outputs = faster(full)[: len(inputs)]
            except (RuntimeError, OSError, ImportError) as error:  # no C++ compiler, an operator that it cannot do
                if is_out_of_memory(error):
                    raise
                reason = first_line(error)
                self._give_up(reason)
                self._say(f"not compiled, which changes the speed and the last digits only: {reason}")
                return plain(inputs)
            if not trusted:
                expected = plain(inputs)
                reason = difference(outputs, expected, self._objective.tolerance)
                if reason:
                    self._give_up(reason)
                    self._say(f"warning: not compiled, which is slower: {reason}")
                    return expected
                trusted = True
            return outputs

        return forward

    def _give_up(self, reason: str) -> None:
        self.plan = replace(self.plan, compiled=False, why=f"{self.plan.why}; not compiled: {reason}")


def choose_execution(
    objective: Objective, network: nn.Module, batches: BatchesOf, work: int, wanted: tuple[int | str, bool | str]
) -> ExecutionPlan:
    """Batch size and compilation for a scan, measured where a choice pays.

    Args:
        objective: the loss.
        network: as it will be evaluated.
        batches: of a size, over the examples of a point.
        work: examples of all points together.
        wanted: batch size or auto; whether to compile, or auto.
    """
    size, compiled = wanted
    most = evaluation_batch(objective.device) if size == "auto" else int(size)
    usual = _filled(objective, network, batches, most)  # a compiled pass fills up what is missing
    while not (rate := _rate(objective, network, batches, usual, time.perf_counter)) and usual > 1:
        usual //= 2
    if not rate:
        advice = "use another --device, or lower model.width"
        raise WorkError(Refusal("out of memory", "not even one example fits", advice=advice))
    why = f"{usual} a batch: {rate:.0f} examples/s"
    best = usual
    if size == "auto" and work / rate > WORTH_MEASURING_S:
        sizes = [n for n in (usual // 2, 2 * usual, 4 * usual) if n and _filled(objective, network, batches, n) == n]
        rates = {n: _rate(objective, network, batches, n, time.perf_counter) for n in sizes}
        fastest = max(rates, key=lambda n: rates[n], default=usual)
        why += "".join(f", {n}: {each:.0f}" for n, each in rates.items())
        if rates.get(fastest, 0.0) > WORTH_CHANGING * rate:
            best, rate = fastest, rates[fastest]
    if not isinstance(objective.loss, OfOutputs):
        compiled = False
        why += "; not compiled: the loss calls the model itself"
    elif objective.loss.views:
        compiled = False  # their batches are smaller, and would be filled up for nothing
    if compiled == "auto":
        layers = sum(any(each.dim() > 1 for each in module.parameters(False)) for module in network.modules())
        won, cost = WON_BY_COMPILING * work / rate, COMPILING_A_LAYER_S * layers
        compiled = won > 2 * cost
        why += f"; compiling would win about {won:.0f} s and cost {cost:.0f} s"
    return ExecutionPlan(best, bool(compiled), why)


def with_low_precision(
    plan: ExecutionPlan, objective: Objective, network: nn.Module, batches: BatchesOf
) -> ExecutionPlan:
    """The same plan, with bfloat16 beside the network's float32 where that is clearly faster, measured not compiled."""
    if objective.autocast is not None or objective.parameters[0].dtype != torch.float32:
        return plan
    if objective.device.type == "cpu" and not computes_bfloat16():
        return plan
    # Of a CPU its own time: beside other programs the clock once saw no gain where there was one of 2.2 x.
    clock = time.process_time if objective.device.type == "cpu" else time.perf_counter
    rates = [_rate(each, network, batches, plan.batch_size, clock) for each in (objective, objective.in_bfloat16())]
    if not all(rates) or rates[1] < WORTH_A_LOW_PRECISION * rates[0]:  # 0: too little memory for this batch
        return plan
    return replace(plan, low_precision=True, why=f"{plan.why}; bfloat16 is {rates[1] / rates[0]:.1f} x as fast")


def _filled(objective: Objective, network: nn.Module, batches: BatchesOf, size: int) -> int:
    """The size of the first batch: less than what was asked for where there are fewer examples."""
    return without_gradients(partial(objective.examples, network, next(iter(batches(size)))))


def _rate(objective: Objective, network: nn.Module, batches: BatchesOf, size: int, now: Callable[[], float]) -> float:
    """Examples a second, the better of two rounds of a few batches; 0 where there is too little memory."""
    seconds = []
    try:
        few = list(islice(batches(size), 3))
        for _ in range(3):  # the first is warming up
            started = now()
            evaluate(objective.losses(network), few)
            seconds.append(now() - started)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return 0.0
    return sum(without_gradients(partial(objective.examples, network, batch)) for batch in few) / min(seconds[1:])
