"""How many evaluations a sampled plane takes, from some of its points: python -m benchmarks.accuracy CONFIG ACCURACY.

The points are drawn at random, and the coarse points around them are computed too: the whole plane takes as many of
either kind as it has, at the mean cost of those that were drawn.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lossviz.config import Config, read
from lossviz.engine.point import undisturbed
from lossviz.run import Run
from lossviz.setup import prepare
from lossviz.surface.file import ScanFile
from lossviz.surface.forward import Forward
from lossviz.surface.grid import Grid, Index, resolve
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled_scan import sampled_plane
from lossviz.surface.samples import Seen

TITLE = "surface.accuracy: 2%"
OFFICIAL = Path(__file__).with_name("official-accuracy.yaml")
# Times fewer evaluations than all examples at all points, of its variants.
WANTED = {"resnet56": 12.0, "resnet56-noshort": 60.0}


def costs(plan: ScanPlan, count: int) -> dict[str, Any]:
    """Examples and seconds of a number of random points, and of the plane that they are from."""
    config, found = plan.config, plan.directions()
    y = config.y or config.x
    grid = Grid.empty(resolve(config.x), resolve(y), plan.quantities)
    execution = plan.execution(grid.status.size, found.subspace)
    file = ScanFile(plan.setup.run, "main", grid, execution.attributes())
    with undisturbed(plan.objective.model, found.subspace.moved_tensors) as origin:
        forward = Forward(plan.objective, execution)
        plane = plan.plane(found.subspace, found.vectors, forward, origin=origin, limit=1)
        samples: dict[Index, Seen] = {}
        point = replace(sampled_plane(plan, file, plane, lambda _: None), seen=samples.__getitem__)
        fine = [index for index in np.ndindex(*grid.status.shape) if index not in point.lattice]
        chosen = [fine[i] for i in np.random.default_rng(0).permutation(len(fine))[:count]]
        rows: dict[tuple[int, ...], list[float]] = {}
        for index in chosen:
            for each in (*point.lattice.around(index), index):
                if each not in rows:
                    started = time.process_time()
                    values, here = point(each)
                    samples[each] = {prefix: part.astype(np.float32).astype(float) for prefix, part in here.items()}
                    seen, precise, loss, stderr = (
                        float(values[name]) for name in ("examples", "precise_examples", "loss", "loss_stderr")
                    )
                    rows[each] = [seen, precise, loss, stderr, time.process_time() - started]
    kinds = {
        "fine": (chosen, len(fine)),
        "coarse": ([i for i in rows if i in point.lattice], len(point.lattice.points)),
    }
    result: dict[str, Any] = {"points": grid.status.size, "examples": len(plan.ordered[""]), "pace": execution.why}
    for kind, (points, total) in kinds.items():
        table = np.array([rows[index] for index in points])
        means = dict(zip(("seen", "precise", "seconds"), table[:, [0, 1, 4]].mean(0).tolist(), strict=True))
        result[kind] = {"of": total, "computed": len(points), **means}
    whole = {
        name: sum(result[kind]["of"] * result[kind][name] for kind in kinds) for name in ("seen", "precise", "seconds")
    }
    result |= {"evaluations": whole["seen"], "precise": whole["precise"], "cpu_hours": whole["seconds"] / 3600}
    return result | {"times_fewer": grid.status.size * result["examples"] / whole["seen"]}


def rows(config: Path = OFFICIAL, points: int = 3) -> dict[str, dict[str, Any]]:
    """Costs of the variants whose checkpoint is there; of the others, which file is not."""
    found: dict[str, dict[str, Any]] = {}
    for variant in read(str(config)):
        checkpoint = variant.surface.checkpoint
        if isinstance(checkpoint, str) and not Path(checkpoint).exists():
            found[variant.variant] = {"missing": checkpoint}
        else:
            found[variant.variant] = measured(variant, points)
    return found


def lines(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Each as a sentence."""
    return [
        f"{name}: left out, there is no {row['missing']}"
        if "missing" in row
        else f"{name}: {row['evaluations']:,.0f} evaluations, {row['times_fewer']:.1f} x fewer than all, by "
        f"{row['fine']['computed']} of {row['points']:,} points and the coarse points around them; "
        f"wanted >= {WANTED[name]:g} x"
        for name, row in rows.items()
    ]


def measured(config: Config, points: int) -> dict[str, Any]:
    """Costs of the plane of a configuration; nothing is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        return costs(ScanPlan(prepare(config, Run(Path(folder)), "cpu")), points)


def main() -> None:
    """Measure every variant and print JSON."""
    arguments = argparse.ArgumentParser(description="evaluations of a sampled plane")
    arguments.add_argument("config")
    arguments.add_argument("accuracy")
    arguments.add_argument("--points", type=int, default=24)
    arguments.add_argument("--variant", action="append", default=[])
    chosen = arguments.parse_args()
    for config in read(chosen.config, [f"surface.accuracy={chosen.accuracy}"], chosen.variant):
        sys.stdout.write(json.dumps({config.variant: measured(config, chosen.points)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
