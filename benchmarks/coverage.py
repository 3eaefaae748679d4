"""How often 95 % intervals of sampled losses hold: python -m benchmarks.coverage [FIGURE] [--points N].

Beside the intervals of lossviz stand those of a sample of random examples that grows by the same looks until its
standard error is small enough, with neither a rule for skewness nor one for what was not seen.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.markdown import markdown
from lossviz.surface.lattice import interpolate
from lossviz.surface.sampling import (
    PILOT,
    SHARE_OF_CONTROL,
    Accuracy,
    Sample,
    Values,
    estimate,
    needed,
    sample,
)

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


def ours(values: Values, accuracy: Accuracy, controls: tuple[Values, ...] = ()) -> Sample:
    """By lossviz."""
    return sample(lambda a, b: values[a:b], N, accuracy, controls, unseen_loss=math.log(10))


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


def of_population(draw: Draw, points: int) -> tuple[float, float, float, float]:
    """Coverage of ours and of the naive intervals, and mean numbers of examples."""
    generator, mine, theirs, seen = np.random.default_rng(0), [], [], []
    for _ in range(points):
        values = answers(draw(generator))
        truth, point, other = float(values[:, 0].mean()), ours(values, Accuracy(WANTED)), naive(values[:, 0])
        mine.append((truth, point.loss.mean, point.loss.stderr))
        theirs.append((truth, other[0], other[1]))
        seen.append((len(point.values), other[2]))
    return covered(mine), covered(theirs), *np.mean(seen, axis=0)


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
    rows = [[name, f"{a:.1%}", f"{b:.1%}", f"{n:,.0f}", f"{m:,.0f}"] for name, (a, b, n, m) in found.items()]
    table = markdown(["losses", "lossviz", "first small error", "examples", "examples of that"], rows)
    loss, error, coarse, between = surfaces
    seen = f"{coarse:,.0f} examples at coarse points, {between:,.0f} between"
    sys.stdout.write(f"{table}\nsurfaces: losses {loss:.1%}, errors {error:.1%}; {seen}\n")
    if chosen.figure:
        draw(found, surfaces, chosen.figure)


def draw(
    found: dict[str, tuple[float, float, float, float]], surfaces: tuple[float, float, float, float], path: Path
) -> None:
    """Coverage of both procedures for each population."""
    figure, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    names = ["surfaces", *found]
    ax.axhspan(93, 97, color="0.9", zorder=0)
    ax.axhline(95, color="0.5", linewidth=0.8)
    ax.plot(names, [100 * each for each in (surfaces[0], *(row[0] for row in found.values()))], "o", label="lossviz")
    ax.plot(names[1:], [100 * row[1] for row in found.values()], "x", label="stop at the first small error")
    ax.set(ylabel="intervals that hold (%)", ylim=(0, 104))
    ax.tick_params(axis="x", rotation=30)
    ax.legend(loc="lower left", frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
