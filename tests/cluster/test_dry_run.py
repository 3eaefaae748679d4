"""What a cluster would take, in words."""

import os

import pytest

from lossviz.cluster import cluster as module
from lossviz.cluster.cluster import Cluster
from lossviz.cluster.local import visible_devices


@pytest.mark.parametrize(
    ("workers", "cores", "points", "seconds", "words"),
    [
        (1, 8, 441, 90.0, "by 1 worker: about 1:40, in some 60 tasks"),
        (4, 8, 441, 90.0, "by 4 workers: about 0:32, in some 60 tasks"),
        (8, 2, 441, 90.0, "by 8 workers, of which 2 compute at one time: about 0:55, in some 60 tasks"),
        (4, 8, 10, 3600.0, "by 4 workers: about 15:10, in some 10 tasks"),
        (4, 8, 441, 0.1, "by 4 workers: about 0:10, in some 4 tasks"),
    ],
)
def test_time_is_divided_by_what_computes_at_one_time(
    monkeypatch: pytest.MonkeyPatch, workers: int, cores: int, points: int, seconds: float, words: str
) -> None:
    monkeypatch.setattr(module, "machine", lambda: {"cores": cores})
    (line,) = Cluster(workers, "", "cpu").estimate(points, seconds)
    assert line.startswith(words)


def test_on_gpus_it_is_divided_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "visible_devices", lambda _: ["0", "1"])
    (line,) = Cluster(4, "", "auto").estimate(100, 100.0)
    assert line.startswith("by 4 workers, of which 2 compute at one time: about 1:00")


@pytest.mark.parametrize(("visible", "names"), [("", ["0", "1", "2"]), ("3,GPU-1a", ["3", "GPU-1a"])])
def test_workers_share_the_gpus_that_the_command_sees(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", visible)
    assert visible_devices("auto") == names
    assert visible_devices("cpu") == []
    assert visible_devices("cuda:1") == []
