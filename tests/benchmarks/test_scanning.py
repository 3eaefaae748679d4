"""The commands of the benchmark of scans do what they are timed for."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import plain, run, scanning
from lossviz.config.model import Vgg
from lossviz.surface.forward import ExecutionPlan

Work = Callable[[], Any]
TINY = """
name: shared
data: {name: digits}
model: {name: vgg, width: 0.0625}
train: {steps: 1, batch_size: 8, eval_examples: 8}
surface: {x: [-1, 1, 3], y: null, batch_size: 8, compile: false, data: {examples: 8}}
"""


def test_one_process_and_two_workers_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def once(plain: Work, ours: Work, pairs: int, seconds: Callable[[Work], float]) -> dict[str, float]:
        return {"ratio": seconds(plain) / seconds(ours) / pairs}

    monkeypatch.setattr(scanning, "SHARED", TINY)
    monkeypatch.setattr(scanning, "paired", once)
    assert scanning.sharing(1)["ratio"] > 0


def test_both_sides_scan_the_same_points() -> None:
    network, places = Vgg(name="vgg", depth=11, width=0.0625), [(0.0, 0.0), (0.5, -0.5)]
    plain.scanning(network, 8, places)()
    scanning.scanning(*run.prepared(network, 8), places, ExecutionPlan(8))()
