"""The memory of a scan beside its network, as the operating system counts it, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

# 64 layers of 1 MB. The peak of resident memory since `clear_refs`, less what was resident then (proc(5)); a first scan
# of a small network has loaded and allocated all that every scan does.
MEASURED = """
import gc
from pathlib import Path
import torch
from torch import nn
from lossviz import loss_surface
from lossviz.config.directions import Parameters, Random

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))

def scan(width, layers, directions):
    layers = [part for _ in range(layers) for part in (nn.Linear(width, width, bias=False), nn.ReLU())]
    model, batch = nn.Sequential(*layers), (torch.randn(4, width), torch.arange(4))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    loss_surface(model, [batch], x=(-1, 1, 2), y=(-1, 1, 2), directions=directions)
    size = sum(each.numel() * each.element_size() for each in model.parameters())
    print((resident("VmHWM") - before) / size)

torch.set_num_threads(1)
directions = {directions}
scan(16, 2, Random())
scan(512, 64, directions)
"""
# A piece of 1 MB in float64, twice or three times, and what the allocator does not give back.
WORKING = 0.4


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts resident memory")
@pytest.mark.parametrize(
    ("directions", "most"),
    [
        ("Random()", 3 + WORKING),
        ("Random(keep=False)", WORKING),
        ("Random(parameters=Parameters(include=('126',)))", 3 / 64 + WORKING),
    ],
    ids=["kept", "drawn again", "one layer"],
)
def test_only_what_moves_is_kept_twice(directions: str, most: float) -> None:
    code = MEASURED.replace("{directions}", directions)
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert float(found[-1]) < most
