"""How long much work takes, with a clock that goes by what is done."""

import time
from dataclasses import dataclass, field

import pytest

from lossviz.engine.timing import SECONDS, timed


@dataclass
class Work:
    """Takes some seconds for each example, some for every call, and some for the first call only."""

    example: float
    call: float = 0.0
    once: float = 0.0
    now: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __call__(self, examples: int) -> None:
        self.now += self.example * examples + self.call + (0 if self.counts else self.once)
        self.counts.append(examples)


@pytest.fixture(name="work")
def _work(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work(*request.param)
    monkeypatch.setattr(time, "perf_counter", lambda: work.now)
    return work


@pytest.mark.parametrize("work", [(0.001, 0.002, 0.5)], indirect=True)
def test_what_is_quick_is_measured_whole(work: Work) -> None:
    """What is done once does not count."""
    assert timed(work, 100) == pytest.approx((0.102, 100))
    assert max(work.counts) == 100


@pytest.mark.parametrize("work", [(0.01, 0.0, 1.0)], indirect=True)
def test_what_is_slow_is_extrapolated(work: Work) -> None:
    seconds, examples = timed(work, 100_000)
    assert seconds == pytest.approx(1_000)
    assert 4 < examples < 300
    assert work.now < SECONDS + 1


@pytest.mark.parametrize("work", [(60.0, 0.0, 5.0)], indirect=True)
def test_what_is_very_slow_is_done_once(work: Work) -> None:
    timing = timed(work, 100_000, least=2)
    assert work.counts == [2]
    assert timing.examples == 2
    assert timing.seconds == pytest.approx(125 * 50_000)


@pytest.mark.parametrize("work", [(0.5,)], indirect=True)
def test_there_may_be_fewer_than_one_begins_with(work: Work) -> None:
    assert timed(work, 2) == pytest.approx((1.0, 2))
