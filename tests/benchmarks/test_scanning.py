"""The commands of the benchmark of scans do what they are timed for."""

import pytest

from benchmarks import scanning

TINY = """
name: shared
data: {name: digits}
model: {name: vgg, width: 0.0625}
train: {steps: 1, batch_size: 8, eval_examples: 8}
surface: {x: [-1, 1, 3], y: null, batch_size: 8, compile: false, data: {examples: 8}}
"""


def test_one_process_and_two_workers_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "SHARED", TINY)
    assert scanning.sharing(1)["ratio"] > 0
