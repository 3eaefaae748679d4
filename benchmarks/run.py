"""`make bench`: lossviz against the plain loop, as ratios in one run.

python -m benchmarks.run [--pairs N] [--out FILE]
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import accuracy, memory, plain
from benchmarks.beside import Beside
from benchmarks.decoding import decoding
from benchmarks.pairs import paired, seconds
from benchmarks.scanning import scanning, sharing
from lossviz.config.model import Model, Resnet, Vgg
from lossviz.config.probe import Probe
from lossviz.config.train import Train
from lossviz.data.cifar10 import MEAN, STD
from lossviz.data.minibatches import Minibatches
from lossviz.data.split import Split
from lossviz.engine.allocation import keep_freed_memory
from lossviz.engine.backend import choose_backend, computes_bfloat16, evaluation_batch
from lossviz.engine.objective import Objective
from lossviz.models.build import build
from lossviz.probe.measure import Step
from lossviz.probe.step import measure_step
from lossviz.provenance import machine, versions
from lossviz.surface.forward import ExecutionPlan
from lossviz.training.loop import update
from lossviz.training.shard import Shard
from lossviz.training.stepper import Stepper

SIZE = evaluation_batch(torch.device("cpu"))
RESNET = Resnet(name="resnet", depth=56)
VGG, TRAIN = Vgg(name="vgg", depth=11, norm="batch"), Train(steps=10, lr=0.01, weight_decay=5e-4)
LENGTHS = (0.05, 0.1, 0.2, 0.4)
# Multiply-adds of one forward pass of an image: torch.utils.flop_counter counts two operations each.
OPERATIONS_PER_MULTIPLY_ADD = 2


def prepared(config: Model, count: int) -> tuple[nn.Module, Split]:
    """A network, placed, and pictures that are resident: what `plain.prepared` is for the plain loop."""
    column = [torch.tensor(values)[:, None, None] for values in (MEAN, STD)]
    return choose_backend("cpu", None).place(build(config, 3, 10)), Split(*plain.pictures(count), *column)


def evaluation(pairs: int) -> dict[str, Any]:
    """Evaluating ResNet-56 on 2,000 images, and the share of the machine's matrix-product rate it reaches."""
    ours, split = prepared(RESNET, 2000)
    objective = Objective(ours)
    with Beside(plain.evaluation, RESNET, 2000) as loop:
        result = paired(loop, lambda: objective.evaluate(split.batches(SIZE)), pairs)
    return {**result, **rates(result, 2000, ours)}


def training(pairs: int) -> dict[str, Any]:
    """Ten steps of VGG-11 with BatchNorm, batch 128."""
    with Beside(plain.training, VGG, TRAIN.steps, TRAIN.lr, TRAIN.weight_decay) as loop:
        result = paired(loop, ten_steps(), pairs)
    return {**result, "images_per_s": 1280 / result["lossviz_s"]}


def short_training(pairs: int) -> dict[str, Any]:
    """The same in bfloat16; the "plain loop" is lossviz's own in float32."""
    result = paired(ten_steps(), ten_steps(torch.bfloat16), pairs)
    return {**result, "images_per_s": 1280 / result["lossviz_s"], "instructions": computes_bfloat16()}


def ten_steps(autocast: torch.dtype | None = None) -> Callable[[], None]:
    """Ten steps of training VGG-11 with BatchNorm."""
    ours, split = prepared(VGG, 128 * TRAIN.steps)
    objective, shard = Objective(ours, autocast=autocast), Shard(Minibatches(split, 128, seed=0))
    stepper = Stepper(TRAIN, objective.parameters)

    def steps() -> None:
        ours.train()
        for step in range(TRAIN.steps):
            update(objective, stepper, shard, step)

    return steps


def small_scan(pairs: int) -> dict[str, Any]:
    """Nine points of a plane, a narrow VGG-11 on 500 images."""
    network = Vgg(name="vgg", depth=11, width=0.125)
    positions = [(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)]
    with Beside(plain.scanning, network, 500, positions) as loop:
        return paired(loop, scanning(*prepared(network, 500), positions, ExecutionPlan(SIZE)), pairs)


def large_scan(pairs: int) -> dict[str, Any]:
    """Two points of a plane, ResNet-56 on 1,000 images, folded and compiled (once, before the clock starts)."""
    (ours, split), positions = prepared(RESNET, 1000), [(0.0, 0.0), (0.5, 0.5)]
    with Beside(plain.scanning, RESNET, 1000, positions) as loop:
        result = paired(loop, scanning(ours, split, positions, ExecutionPlan(SIZE, compiled=True)), pairs)
    return {**result, **rates(result, 2000, ours)}


def rates(result: Mapping[str, float], images: int, model: nn.Module) -> dict[str, float]:
    """Images a second, and the share of the machine's matrix-product rate that they are."""
    rate = images / result["lossviz_s"]
    return {"images_per_s": rate, "of_matrix_product_rate": rate * operations(model) / matrix_product_rate()}


def noise(pairs: int) -> dict[str, Any]:
    """A step of VGG-11 at a quarter of the width with noisy BatchNorm; the "plain loop" is the same without noise."""
    split = Split(*plain.pictures(256), *(torch.tensor(values)[:, None, None] for values in (MEAN, STD)))
    batch, backend = Minibatches(split, 128, seed=0)(0), choose_backend("cpu", None)
    quiet, noisy = (
        Objective(backend.place(build(Vgg(name="vgg", depth=11, width=0.25, norm=norm), 3, 10)).train())
        for norm in ("batch", "noisy-batch")
    )
    return paired(lambda: quiet.differentiate(batch), lambda: noisy.differentiate(batch), 3 * pairs)


def probing(pairs: int) -> dict[str, Any]:
    """The landscape at four lengths of VGG-11 with BatchNorm, against five bare forward-backward passes."""
    ours, split = prepared(Vgg(name="vgg", depth=11, width=0.5, norm="batch"), 256)
    objective, batch = Objective(ours), Minibatches(split, 128, seed=0)(0)
    ours.train()

    def bare() -> None:
        for _ in range(1 + len(LENGTHS)):
            loss = nn.functional.cross_entropy(ours(batch.inputs), batch.targets)
            torch.autograd.grad(loss, objective.parameters)

    return paired(bare, lambda: measure_step(Step(objective, batch, Probe(lengths=LENGTHS), anchored=False)), pairs)


def start_up(pairs: int) -> dict[str, Any]:
    """Seconds until `lossviz --help` and an error in a configuration are answered, whole processes."""

    def command(*arguments: str) -> float:
        call = [sys.executable, "-m", "lossviz", *arguments]
        return seconds(lambda: subprocess.run(call, capture_output=True, check=False))

    command("--help")
    wrong = ("train", "quickstart", "--set", "train.learning_rate=1")
    return {
        "help_s": statistics.median(command("--help") for _ in range(pairs)),
        "configuration_error_s": statistics.median(command(*wrong) for _ in range(pairs)),
    }


def operations(model: nn.Module) -> int:
    """Floating-point operations of one forward pass of a 32x32 image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    return int(counter.get_total_flops())


def matrix_product_rate(size: int = 2048) -> float:
    """Operations a second of a float32 matrix product, the yardstick of dense arithmetic."""
    matrix = torch.randn(size, size)
    times = [seconds(lambda: matrix @ matrix) for _ in range(7)]
    return OPERATIONS_PER_MULTIPLY_ADD * size**3 / statistics.median(times[2:])


ROWS = {
    "evaluate ResNet-56": (evaluation, 1.7),
    "train VGG-11 with BatchNorm": (training, 1.3),
    "train VGG-11 in bfloat16, against float32": (short_training, 1.2),  # on a CPU that has it
    "scan a small network": (small_scan, 5.0),
    "scan ResNet-56, compiled": (large_scan, 2.2),
    "two workers, against two threads": (sharing, 0.95),
    "decode photographs, against a DataLoader": (decoding, 0.9),
    "probe, against bare passes": (probing, 1 / 1.05),
    "noisy BatchNorm, against BatchNorm": (noise, 1 / 1.7),
}


def main() -> None:
    """Measure, print and save."""
    arguments = argparse.ArgumentParser(description="lossviz against the plain loop")
    arguments.add_argument("--pairs", type=int, default=5, help="paired runs of each row")
    arguments.add_argument("--out", type=Path, default=Path("benchmarks/results.json"))
    chosen = arguments.parse_args()
    keep_freed_memory()  # as the commands do; the plain loop has a process of its own
    console, results = Console(), {}
    table = Table("work", "plain loop", "lossviz", "ratio", "range", "wanted")
    for name, (row_of, wanted) in ROWS.items():
        with console.status(name):
            row = results[name] = {**row_of(chosen.pairs), "wanted_ratio": wanted}
        ratio, spread = f"{row['ratio']:.2f} x", f"{row['ratio_min']:.2f} to {row['ratio_max']:.2f}"
        table.add_row(name, f"{row['plain_s']:.3g} s", f"{row['lossviz_s']:.3g} s", ratio, spread, f">= {wanted:.2g} x")
    start = results["start-up"] = start_up(chosen.pairs)
    console.print(table)
    for name in ("evaluate ResNet-56", "scan ResNet-56, compiled"):
        share = results[name]["of_matrix_product_rate"]
        console.print(f"{name}: {share:.0%} of this machine's 2048 x 2048 matrix-product rate")
    answers = f"{start['help_s']:.2f} s, a configuration error {start['configuration_error_s']:.2f} s"
    console.print(f"lossviz --help {answers}; wanted < 0.4 s")
    for module in (memory, accuracy):  # what is counted, not timed
        with console.status(module.TITLE):
            rows = results[module.TITLE] = module.rows()
        for line in module.lines(rows):
            console.print(f"{module.TITLE}, {line}")
    chosen.out.write_text(json.dumps({"machine": machine(), "versions": versions(), "rows": results}, indent=2) + "\n")
    console.print(f"saved {chosen.out}")


if __name__ == "__main__":
    main()
