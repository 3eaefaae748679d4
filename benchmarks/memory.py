"""The peak memory of scans as multiples of the network, as Linux counts it, each in a process of its own.

python -m benchmarks.memory
"""

import gc
import json
import multiprocessing
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.pairs import seconds
from lossviz import loss_surface
from lossviz.config.directions import Parameters, Random

# 537 MB in layers of 1 MB: a scan's working space is a few layers in float64, whatever the network.
WIDTH, LAYERS = 512, 512
# By name: directions, the part that they move, what is counted, and the most that is wanted.
SCANS = {
    "all layers move": (Random(), "", "beyond_over_moved", 3.0),
    "the last quarter moves": (Random(parameters=Parameters(include=("last",))), "last", "beyond_over_moved", 3.0),
    "all layers move, keep: false": (Random(keep=False), "", "in_all_over_model", 1.2),
}
TITLE = "memory of a scan"
COUNTS = Path("/proc/self/clear_refs")


def rows(width: int = WIDTH, layers: int = LAYERS) -> dict[str, dict[str, Any]]:
    """`loss_surface` of linear layers, a plane of 2 x 2 points and one example; empty where Linux does not count."""
    if not COUNTS.exists():
        return {}
    context, found = multiprocessing.get_context("spawn"), {}
    for name, (*_, counted, wanted) in SCANS.items():
        with context.Pool(1) as process:
            row = process.apply(scan_peak, (name, width, layers))
        found[name] = {**row, "counted": counted, "wanted_at_most": wanted}
    return found


def lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Each as a sentence."""
    said = [
        f"{name}: {row['beyond_over_moved']:.2f} x what moves beyond the network, {row['in_all_over_model']:.2f} x the "
        f"network in all; wanted {row['counted'].replace('_', ' ')} <= {row['wanted_at_most']:g} x"
        for name, row in rows.items()
    ]
    return said or ["left out: only Linux counts the peak of resident memory"]


def scan_peak(name: str, width: int, layers: int) -> dict[str, float]:
    """Bytes of the network, of what moves and of the peak beyond the network, and their ratios."""
    directions, part, *_ = SCANS[name]
    torch.set_num_threads(1)
    _scan(network(16, 4), 16, Random())  # loads and allocates what every scan does
    model = network(width, layers)
    taken: list[float] = []
    beyond = peak(lambda: taken.append(seconds(lambda: _scan(model, width, directions))))
    whole, moved = _size(model), _size(model.get_submodule(part))
    return {
        "model_bytes": whole,
        "moved_bytes": moved,
        "beyond_bytes": beyond,
        "beyond_over_moved": beyond / moved,
        "in_all_over_model": 1 + beyond / whole,
        "seconds": taken[0],
    }


def network(width: int, layers: int) -> nn.Sequential:
    """Square linear layers and ReLUs; the last quarter of the layers is a part of that name."""
    parts = [nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU()) for _ in range(layers)]
    start = layers * 3 // 4
    return nn.Sequential(OrderedDict(first=nn.Sequential(*parts[:start]), last=nn.Sequential(*parts[start:])))


def peak(work: Callable[[], object]) -> int:
    """Bytes by which resident memory is highest during a call above what it was before (proc(5), `clear_refs`)."""
    gc.collect()
    COUNTS.write_text("5")
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _scan(model: nn.Module, width: int, directions: Random) -> None:
    batch = torch.randn(1, width), torch.arange(1)
    loss_surface(model, [batch], x=(-1, 1, 2), y=(-1, 1, 2), directions=directions)


def _size(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(rows(), indent=2) + "\n")
