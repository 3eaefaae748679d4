"""How often 95 % intervals of sampled losses hold: python -m benchmarks.coverage [FIGURE] [--points N].

Beside the intervals of lossviz, without and with a low precision that is 2 % too high and 5 % wrong, stand those of a
sample of random examples that grows by the same looks until its standard error is small enough, with neither a rule for
skewness nor one for what was not seen.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.markdown import markdown
from lossviz.surface.estimator import Values, estimate, needed
from lossviz.surface.lattice import interpolate
from lossviz.surface.sampling import PILOT, SHARE_OF_CONTROL, Accuracy, Sample, sample

N = 20_000
WANTED = 0.05
Draw = Callable[[np.random.Generator], Values]


def margins(generator: np.random.Generator) -> Values:
    """Cross-entropies at five points of a line, whose margins move almost linearly: (5, N)."""
    start, slope, bend = generator.standard_normal((3, N)) * [[2], [3], [0.3]] + [[2], [-3], [0]]
    return np.stack([np.logaddexp(0, -(start + x * slope + x * (1 - x) * bend)) for x in np.linspace(0, 1, 5)])


POPULATIONS: dict[str, Draw] = {
    "normal": lambda g: 3 + g.standard_normal(N),
    "gamma 1": lambda g: g.gamma(1, 1, N),
    "gamma 0.3": lambda g: g.gamma(0.3, 1, N),
    "lognormal 1": lambda g: g.lognormal(0, 1, N),
    "lognormal 1.5": lambda g: g.lognormal(0, 1.5, N),
    "lognormal 2": lambda g: g.lognormal(0, 2, N),
    "1 % hard": lambda g: np.where(g.random(N) < 0.01, g.exponential(3, N), 0.01 * g.random(N)),
    "0.1 % hard": lambda g: np.where(g.random(N) < 0.001, g.exponential(5, N), 0.01 * g.random(N)),
}


def answers(losses: Values) -> Values:
    """The losses, and answers that are wrong where these are above log 2."""
    return np.stack([losses, losses > math.log(2)], axis=1)


def ours(values: Values, accuracy: Accuracy, controls: tuple[Values, ...] = (), low: Values | None = None) -> Sample:
    """By lossviz."""
    rough = None if low is None else low.__getitem__
    return sample(values.__getitem__, N, accuracy, controls, rough, unseen_loss=math.log(10))


def naive(losses: Values) -> tuple[float, float, int]:
    """A sample that stops at the first small standard error."""
    n = PILOT
    while True:
        found = estimate(losses[:n], N)
        stderr = math.sqrt((1 / n - 1 / N) * float(losses[:n].var(ddof=1)))
        if n == N or stderr <= WANTED * found.mean:
            return found.mean, stderr, n
        n = min(N, max(n + 64, min(4 * n, math.ceil(needed(losses[:n], N, WANTED * found.mean)))))


def covered(rows: list[tuple[float, float, float]]) -> float:
    """Share of the intervals mean +- 1.96 standard errors that hold the truth."""
    truth, means, errors = np.array(rows).T
    return float((np.abs(means - truth) <= 1.96 * errors + 1e-12).mean())


@dataclass
class Coverage:
    """Of one population: shares of intervals that hold, and mean numbers of examples."""

    ours: float
    low: float
    naive: float
    examples: float
    precise: float
    of_naive: float


def of_population(draw: Draw, points: int) -> Coverage:
    """Coverage of our intervals, without and with a low precision, and of the naive ones."""
    generator, noise = np.random.default_rng(0), np.random.default_rng(1)
    rows: list[list[tuple[float, float, float]]] = [[], [], []]
    seen = []
    for _ in range(points):
        values = answers(draw(generator))
        low = answers(values[:, 0] * (1.02 + 0.05 * noise.standard_normal(N)))
        mine, mixed = (ours(values, Accuracy(WANTED), low=each) for each in (None, low))
        theirs = naive(values[:, 0])
        for row, (mean, stderr) in zip(
            rows, ((mine.loss.mean, mine.loss.stderr), (mixed.loss.mean, mixed.loss.stderr), theirs[:2]), strict=True
        ):
            row.append((float(values[:, 0].mean()), mean, stderr))
        seen.append((len(mine.values), mixed.precise, theirs[2]))
    return Coverage(*(covered(row) for row in rows), *np.mean(seen, axis=0))


def of_surfaces(points: int) -> tuple[float, float, float, float]:
    """Coverage of losses and of error rates at coarse points and between them, and mean numbers of examples."""
    generator, accuracy = np.random.default_rng(0), Accuracy(WANTED)
    losses, errors, seen = [], [], []
    for _ in range(points // 5):
        values = np.stack([answers(each) for each in margins(generator)])
        ends = [ours(values[i], accuracy.tighter(SHARE_OF_CONTROL)) for i in (0, 4)]
        parents = [end.values for end in ends]
        between = [ours(values[i], accuracy, tuple(interpolate(parents, [1 - i / 4, i / 4]))) for i in (1, 2, 3)]
        for i, point in zip((0, 4, 1, 2, 3), (*ends, *between), strict=True):
            truth = values[i].mean(axis=0)
            losses.append((truth[0], point.loss.mean, point.loss.stderr))
            errors.append((truth[1], point.wrong.mean, point.wrong.stderr))
        seen.append([np.mean([len(each.values) for each in some]) for some in (ends, between)])
    return covered(losses), covered(errors), *np.mean(seen, axis=0)


def main() -> None:
    """Measure, print a table, draw."""
    arguments = argparse.ArgumentParser(description="coverage of 95 % intervals")
    arguments.add_argument("figure", type=Path, nargs="?")
    arguments.add_argument("--points", type=int, default=10_000)
    chosen = arguments.parse_args()
    found = {name: of_population(draw, chosen.points // len(POPULATIONS)) for name, draw in POPULATIONS.items()}
    surfaces = of_surfaces(chosen.points)
    rows = [
        [
            name,
            *(f"{share:.1%}" for share in (each.ours, each.low, each.naive)),
            *(f"{count:,.0f}" for count in (each.examples, each.precise, each.of_naive)),
        ]
        for name, each in found.items()
    ]
    head = ["losses", "lossviz", "and low precision", "first small error", "examples", "precise", "of first"]
    table = markdown(head, rows)
    loss, error, coarse, between = surfaces
    seen = f"{coarse:,.0f} examples at coarse points, {between:,.0f} between"
    sys.stdout.write(f"{table}\nsurfaces: losses {loss:.1%}, errors {error:.1%}; {seen}\n")
    if chosen.figure:
        draw(found, surfaces, chosen.figure)


def draw(found: dict[str, Coverage], surfaces: tuple[float, float, float, float], path: Path) -> None:
    """Coverage of the procedures for each population."""
    figure, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    names = ["surfaces", *found]
    ax.axhspan(93, 97, color="0.9", zorder=0)
    ax.axhline(95, color="0.5", linewidth=0.8)
    ax.plot(names, [100 * each for each in (surfaces[0], *(row.ours for row in found.values()))], "o", label="lossviz")
    ax.plot(names[1:], [100 * row.low for row in found.values()], "+", label="lossviz, mostly in a low precision")
    ax.plot(names[1:], [100 * row.naive for row in found.values()], "x", label="stop at the first small error")
    ax.set(ylabel="intervals that hold (%)", ylim=(0, 104))
    ax.tick_params(axis="x", rotation=30)
    ax.legend(loc="lower left", frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
