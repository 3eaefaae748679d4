"""How often 95 % intervals of sampled losses hold: python -m benchmarks.coverage [FIGURE] [--points N].

Beside the intervals of lossviz, without and with a low precision that is 2 % too high and 5 % wrong, stand those of a
sample of random examples that grows until its standard error is small enough, with neither a rule for skewness nor one
for what was not seen.
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
from lossviz.surface.sampled.estimator import Values, estimate, needed
from lossviz.surface.sampled.lattice import interpolate
from lossviz.surface.sampled.sampling import PILOT, SHARE_OF_CONTROL, Accuracy, Sample, sample

N = 20_000
WANTED = 0.05
Draw = Callable[[np.random.Generator], Values]
PROCEDURES = {
    "lossviz": "lossviz",
    "mixed": "lossviz with a low precision",
    "first": "stop at the first small error",
}


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


@dataclass
class Coverage:
    """How often the intervals of one procedure hold.

    Attributes:
        holds: share of all intervals mean +- 1.96 standard errors that hold the truth.
        estimated: of those alone whose standard error is not 0; NaN if all are exact.
        exact: share of the others.
        bias: mean of (estimate - truth) / standard error, where that is not 0.
        seen: mean number of examples, in full precision.
    """

    holds: float
    estimated: float
    exact: float
    bias: float
    seen: float


Rows = list[tuple[float, float, float, int]]
"""Truth, mean, standard error, and examples in full precision."""


def covered(rows: Rows) -> Coverage:
    """Coverage of intervals."""
    truth, means, errors, seen = np.array(rows).T
    holds = np.abs(means - truth) <= 1.96 * errors + 1e-12
    known = errors > 0
    estimated, bias = math.nan, math.nan
    if known.any():
        estimated = float(holds[known].mean())
        bias = float(((means - truth)[known] / errors[known]).mean())
    return Coverage(float(holds.mean()), estimated, 1 - float(known.mean()), bias, float(seen.mean()))


def in_low_precision(losses: Values, noise: np.random.Generator) -> Values:
    """2 % too high, with an error of 5 %."""
    return answers(losses * (1.02 + 0.05 * noise.standard_normal(losses.shape)))


def of_population(draw: Draw, points: int) -> dict[str, Coverage]:
    """Coverage of our intervals, without and with a low precision, and of the naive ones."""
    generator, noise = np.random.default_rng(0), np.random.default_rng(1)
    rows: dict[str, Rows] = {name: [] for name in PROCEDURES}
    for _ in range(points):
        values = answers(draw(generator))
        low = in_low_precision(values[:, 0], noise)
        truth = float(values[:, 0].mean())
        for name, each in zip(PROCEDURES, (None, low), strict=False):
            found = ours(values, Accuracy(WANTED), low=each)
            rows[name].append((truth, found.loss.mean, found.loss.stderr, found.precise))
        rows["first"].append((truth, *naive(values[:, 0])))
    return {name: covered(each) for name, each in rows.items()}


def of_surfaces(points: int, *, mixed: bool) -> dict[str, Coverage]:
    """Coverage of losses at coarse points and between them, and of error rates, perhaps with a low precision."""
    generator, noise, accuracy = np.random.default_rng(0), np.random.default_rng(1), Accuracy(WANTED)
    rows: dict[str, Rows] = {"coarse points": [], "between them": [], "error rates": []}
    for _ in range(points // 5):
        values = np.stack([answers(each) for each in margins(generator)])
        low = [in_low_precision(each[:, 0], noise) if mixed else None for each in values]
        ends = [ours(values[i], accuracy.tighter(SHARE_OF_CONTROL), low=low[i]) for i in (0, 4)]
        parents = [end.values for end in ends]
        between = [
            ours(values[i], accuracy, tuple(interpolate(parents, [1 - i / 4, i / 4])), low[i]) for i in (1, 2, 3)
        ]
        for i, point in zip((0, 4, 1, 2, 3), (*ends, *between), strict=True):
            truth, wrong = values[i].mean(axis=0)
            name = "coarse points" if i in (0, 4) else "between them"
            rows[name].append((truth, point.loss.mean, point.loss.stderr, point.precise))
            rows["error rates"].append((wrong, point.wrong.mean, point.wrong.stderr, point.precise))
    return {name: covered(each) for name, each in rows.items()}


def main() -> None:
    """Measure, print tables, draw."""
    arguments = argparse.ArgumentParser(description="coverage of 95 % intervals")
    arguments.add_argument("figure", type=Path, nargs="?")
    arguments.add_argument("--points", type=int, default=10_000)
    chosen = arguments.parse_args()
    found = {name: of_population(draw, chosen.points // len(POPULATIONS)) for name, draw in POPULATIONS.items()}
    surfaces = {
        name: of_surfaces(chosen.points, mixed=mixed) for name, mixed in zip(PROCEDURES, (False, True), strict=False)
    }
    for name in surfaces["lossviz"]:
        found[name] = {procedure: each[name] for procedure, each in surfaces.items()}
    sys.stdout.write(f"{table(found)}\n")
    if chosen.figure:
        draw(found, chosen.figure)


def table(found: dict[str, dict[str, Coverage]]) -> str:
    """For each procedure the intervals that hold, of all points and of those that are not exact; bias; examples."""
    quantities: dict[str, Callable[[Coverage], str]] = {
        "hold": lambda each: f"{each.holds:.1%}",
        "exact": lambda each: f"{each.exact:.0%}",
        "others hold": lambda each: f"{each.estimated:.1%}",
        "their bias": lambda each: f"{each.bias:+.2f}",
        "examples": lambda each: f"{each.seen:,.0f}",
    }
    tables = []
    for procedure in PROCEDURES:
        rows = [
            [name, *(show(each[procedure]) for show in quantities.values())]
            for name, each in found.items()
            if procedure in each
        ]
        tables.append(markdown([procedure, *quantities], rows))
    return "\n\n".join(tables)


def draw(found: dict[str, dict[str, Coverage]], path: Path) -> None:
    """Coverage of the procedures, of all points and of those that are not exact."""
    figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
    ax.axhspan(93, 97, color="0.9", zorder=0)
    ax.axhline(95, color="0.5", linewidth=0.8)
    places = np.arange(len(found))
    for shift, (procedure, label), marker in zip((-0.2, 0, 0.2), PROCEDURES.items(), "osx", strict=True):
        known = [each.get(procedure) for each in found.values()]
        holds = [math.nan if each is None else 100 * each.holds for each in known]
        rest = [math.nan if each is None or not each.exact else 100 * each.estimated for each in known]
        (line,) = ax.plot(places + shift, holds, marker, markersize=4, label=label)
        ax.plot(places + shift, rest, marker, markersize=4, markerfacecolor="none", color=line.get_color())
    ax.plot([], [], "o", markersize=4, markerfacecolor="none", color="0.3", label="of points that are not exact")
    ax.set(ylabel="intervals that hold (%)", ylim=(0, 103), xticks=places)
    ax.set_xticklabels(list(found), rotation=30, ha="right")
    ax.legend(loc="lower left", frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
