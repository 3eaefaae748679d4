"""How many examples a sampled plane sees, from some of its points: python -m benchmarks.accuracy CONFIG ACCURACY.

The points are drawn at random, and the coarse points around them are computed too. The whole plane takes as many of
either kind as it has, at the mean cost of those that were drawn; or, where docs/runs has the whole plane, what that
took, times the ratio of what these points take now and took then. A few points near the centre cost most, so that the
mean of three says little: 2.9 x fewer where the ratio, and the whole scan, say 14.8 x.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planes import Floats
from lossviz.config import Config, read
from lossviz.engine.point import undisturbed
from lossviz.results import load_results
from lossviz.run import Run
from lossviz.setup import prepare
from lossviz.surface.file import ScanFile
from lossviz.surface.forward import Forward
from lossviz.surface.grid import Grid, Index, resolve
from lossviz.surface.plan import ScanPlan
from lossviz.surface.sampled.files import Seen
from lossviz.surface.sampled.scan import loss_range, sampled_plane

RUNS = Path(__file__).parent.parent / "docs" / "runs"
TITLE = "surface.accuracy: 2%"
OFFICIAL = Path(__file__).with_name("official-accuracy.yaml")
# Times fewer than all examples at all points, of its variants.
WANTED = {"resnet56": 12.0, "resnet56-noshort": 60.0}


def costs(plan: ScanPlan, count: int, published: Floats | None = None) -> dict[str, Any]:
    """Examples and seconds of a number of random points, and of the plane that they are from.

    Args:
        plan: the scan.
        count: of the random points.
        published: examples at every point of the same plane, by an earlier scan.
    """
    (x, y), found = (plan.config.x, plan.config.y), plan.directions()
    grid = Grid.empty(resolve(x), None if y is None else resolve(y), plan.quantities)
    execution = plan.execution(grid.status.size, found.subspace)
    range_ = loss_range(plan, grid, found.subspace, found.vectors, execution)
    file = ScanFile(plan.setup.run, "main", grid, execution.attributes() | range_)
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
        "fine": (chosen, fine),
        "coarse": ([i for i in rows if i in point.lattice], point.lattice.points),
    }
    result: dict[str, Any] = {"points": grid.status.size, "examples": len(plan.ordered[""]), "pace": execution.why}
    for kind, (points, every) in kinds.items():
        table = np.array([rows[index] for index in points])
        means = dict(zip(("seen", "precise", "seconds"), table[:, [0, 1, 4]].mean(0).tolist(), strict=True))
        # As many as these stand for: all that there are, or what all took then in units of these.
        alike = len(every) if published is None else _sum(published, every) / _sum(published, points) * len(points)
        result[kind] = {"of": len(every), "computed": len(points), "alike": alike, **means}
    whole = {name: sum(result[kind]["alike"] * result[kind][name] for kind in kinds) for name in means}
    result |= {"seen": whole["seen"], "precise": whole["precise"], "cpu_hours": whole["seconds"] / 3600}
    return result | {"times_fewer": grid.status.size * result["examples"] / whole["seen"]}


def _sum(values: Floats, points: Iterable[Index]) -> float:
    return float(sum(values[index] for index in points))


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
        else f"{name}: {row['seen']:,.0f} examples, {row['times_fewer']:.1f} x fewer than all, by "
        f"{row['fine']['computed']} of {row['points']:,} points and the coarse points around them; "
        f"wanted >= {WANTED[name]:g} x"
        for name, row in rows.items()
    ]


def measured(config: Config, points: int) -> dict[str, Any]:
    """Costs of the plane of a configuration; nothing is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        plan = ScanPlan(prepare(config, Run(Path(folder)), "cpu"))
        return costs(plan, points, published(config, plan.points))


def published(config: Config, points: int) -> Floats | None:
    """Examples at every point of the plane in docs/runs of this name, if it has as many points."""
    file = RUNS / config.name / config.variant / "surface-main.nc"
    found: Floats | None = load_results(file).examples.values if file.exists() else None
    return found if found is not None and found.size == points else None


def main() -> None:
    """Measure every variant and print JSON."""
    arguments = argparse.ArgumentParser(description="examples of a sampled plane")
    arguments.add_argument("config")
    arguments.add_argument("accuracy")
    arguments.add_argument("--points", type=int, default=24)
    arguments.add_argument("--variant", action="append", default=[])
    chosen = arguments.parse_args()
    for config in read(chosen.config, [f"surface.accuracy={chosen.accuracy}"], chosen.variant):
        sys.stdout.write(json.dumps({config.variant: measured(config, chosen.points)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
