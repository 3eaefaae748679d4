"""Batch size, compilation and bfloat16: chosen where they pay."""

import time

import pytest
import torch
from torch import Tensor, nn

from lossviz.engine.objective import Objective
from lossviz.errors import WorkError
from lossviz.surface import forward as forward_module
from lossviz.surface.forward import COMPILING_A_LAYER_S, ExecutionPlan, choose_execution, with_low_precision
from tests.surface.test_forward import EXAMPLES, batches, network


class Clock(nn.Module):
    """A network with a time of its own: examples a second by batch size, and too little memory above `room`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], room: int = 10**6) -> None:
        super().__init__()
        self.inner, self.rates, self.room, self.now = network(), rates, room, 0.0
        self.sizes: set[int] = set()
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.add(len(inputs))
        if len(inputs) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        self.now += len(inputs) / self.rates.get(len(inputs), 100.0)
        outputs: Tensor = self.inner(inputs)
        return outputs


def chosen(clock: Clock, work: int, size: int | str = "auto", compiled: bool | str = False) -> ExecutionPlan:
    return choose_execution(Objective(clock), clock, batches, work, (size, compiled))


class Busy(nn.Module):
    """A network on a busy machine: seconds of the processor and of the clock on the wall, in float32 and bfloat16."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, processor: tuple[float, float], wall: tuple[float, float]
    ) -> None:
        super().__init__()
        self.inner, self.costs, self.now = network(), (processor, wall), [0.0, 0.0]
        monkeypatch.setattr(time, "process_time", lambda: self.now[0])
        monkeypatch.setattr(time, "perf_counter", lambda: self.now[1])

    def forward(self, inputs: Tensor) -> Tensor:
        for clock, costs in enumerate(self.costs):
            self.now[clock] += costs[torch.is_autocast_enabled("cpu")]
        outputs: Tensor = self.inner(inputs)
        return outputs


@pytest.mark.parametrize(
    ("processor", "wall", "taken"), [((3, 1), (5, 5), True), ((1, 1), (5, 1), False), ((4, 3), (9, 1), False)]
)
def test_what_else_a_machine_does_says_nothing_about_bfloat16(
    monkeypatch: pytest.MonkeyPatch, processor: tuple[float, float], wall: tuple[float, float], taken: bool
) -> None:
    monkeypatch.setattr(forward_module, "computes_bfloat16", lambda: True)
    busy = Busy(monkeypatch, processor, wall)
    plan = with_low_precision(ExecutionPlan(64), Objective(busy), busy, batches)
    assert plan.low_precision == taken
    assert ("bfloat16 is 3.0 x as fast" in plan.why) == taken


def test_without_memory_to_measure_there_is_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_module, "computes_bfloat16", lambda: True)
    clock, plan = Clock(monkeypatch, {}, room=1), ExecutionPlan(64)
    assert with_low_precision(plan, Objective(clock), clock, batches) == plan


LONG = 10**6  # seconds, at the rates below


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({32: 100, 64: 100, 128: 105, 256: 109}, 64),  # no clear gain: the usual one, as everywhere
        ({32: 100, 64: 100, 128: 115, 256: 120}, 256),
        ({32: 150, 64: 100, 128: 120, 256: 90}, 32),
        ({32: 90, 64: 100, 128: 112, 256: 80}, 128),
    ],
)
def test_another_batch_size_only_for_a_clear_gain(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], best: int
) -> None:
    pace = chosen(Clock(monkeypatch, rates), 100 * LONG)
    assert (pace.batch_size, pace.compiled) == (best, False)
    assert pace.why == f"64 a batch: 100 examples/s, 32: {rates[32]}, 128: {rates[128]}, 256: {rates[256]}"


def test_a_short_scan_is_not_delayed_by_choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {64: 100, 256: 1000})
    assert chosen(clock, 1000).batch_size == 64
    assert clock.sizes == {64}


def test_a_configured_size_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {64: 1000})
    assert chosen(clock, 100 * LONG, size=50).batch_size == 50
    assert clock.sizes == {50}


def test_no_batch_is_larger_than_there_are_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled pass would be filled up to it."""
    clock = Clock(monkeypatch, {64: 100, 1000: 10_000})
    assert chosen(clock, 10, size=5000).batch_size == EXAMPLES
    few = choose_execution(
        Objective(clock), clock, lambda n: iter([next(batches(min(n, 40)))]), 100 * LONG, ("auto", False)
    )
    assert (few.batch_size, few.why) == (40, "40 a batch: 100 examples/s, 20: 100")
    assert max(clock.sizes) == 1000


@pytest.mark.parametrize(("room", "best"), [(100, 64), (50, 32), (10, 8), (1, 1)])
@pytest.mark.parametrize("work", [10, 100 * LONG])
def test_sizes_for_which_there_is_no_memory_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, room: int, best: int, work: int
) -> None:
    pace = chosen(Clock(monkeypatch, dict.fromkeys((1, 8, 32, 64), 100.0), room), work, compiled="auto")
    assert pace.batch_size == best


def test_memory_for_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkError, match="out of memory"):
        chosen(Clock(monkeypatch, {}, room=0), 10)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("another")])
def test_other_errors_stay_visible(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    clock = Clock(monkeypatch, {})
    clock.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(type(error), match=str(error)):
        chosen(clock, 10)


@pytest.mark.parametrize(("wanted", "seconds", "compiled"), [(True, 1, True), (False, 1e9, False)])
def test_compiling_as_configured(monkeypatch: pytest.MonkeyPatch, wanted: bool, seconds: float, compiled: bool) -> None:
    assert chosen(Clock(monkeypatch, {64: 100}), int(100 * seconds), 64, wanted).compiled == compiled


def test_compiling_pays_for_a_long_scan_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of the time is won, and must be twice what compiling two layers costs."""
    cost = 2 * COMPILING_A_LAYER_S
    enough = 2 * cost / 0.12
    for seconds, worth in ((0.9 * enough, False), (1.1 * enough, True)):
        pace = chosen(Clock(monkeypatch, {64: 100}), int(100 * seconds), 64, "auto")
        assert pace.compiled == worth
        assert pace.why.endswith(f"; compiling would win about {0.12 * seconds:.0f} s and cost {cost:.0f} s")
