"""What a plane from a few fixed examples gets wrong, against one of known accuracy from all of them.

python -m benchmarks.fewer RUN [RUN ...] [--name first1000]

RUN has two scans of one plane: `main` with surface.accuracy, and one of a fixed part of the examples.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.markdown import markdown
from benchmarks.planes import Floats, local_minima
from lossviz.results import difference_stderr, load_results
from lossviz.results.surface import matching_points
from lossviz.run import Run, find_runs

# Relative errors whose points are counted.
LIMITS = (0.02, 0.1, 0.3)
# Two standard errors are not chance.
BEYOND = 2.0


def compared(runs: Sequence[Run], name: str) -> str:
    """Each run's scan `name` against its scan `main`, as Markdown."""
    columns = [_column(*(load_results(run.surface_file(each)) for each in ("main", name))) for run in runs]
    rows = [[quantity, *(column[quantity] for column in columns)] for quantity in columns[0]]
    return markdown([f"{name} against all", *(run.variant for run in runs)], rows)


def _column(all_of_them: xr.Dataset, few: xr.Dataset) -> dict[str, str]:
    all_of_them, few = _at_common_points(all_of_them, few)
    truth, drawn = all_of_them.loss.values, few.loss.values
    known = np.isfinite(truth) & np.isfinite(drawn)
    signed = (drawn / truth - 1)[known]
    off = np.abs(signed)
    # The errors of both are independent but for the few that a sample of all has in common with them.
    noise = np.hypot(few.loss_stderr.values, all_of_them.loss_stderr.values)
    holds = np.abs(drawn - truth)[known] <= 1.96 * noise[known]
    centre = tuple(int(np.argmin(abs(all_of_them[axis].values))) for axis in ("y", "x"))
    low = truth[known] < np.quantile(truth[known], 0.1)
    return {
        "examples": f"{few.attrs['examples']:,} of {all_of_them.attrs['examples']:,}",
        "points": f"{known.sum():,}",
        "loss at the centre": f"{drawn[centre]:.3g}, of all {truth[centre]:.3g}",
        **{f"points more than {limit:.0%} off": f"{(off > limit).mean():.1%}" for limit in LIMITS},
        "half of the points are off by more than": f"{np.median(off):.1%}",
        "in the lowest tenth, half of the points are off by more than": f"{np.median(off[low]):.1%}",
        "in the lowest tenth, median difference": f"{np.median(signed[low]):+.1%}",
        "largest": f"{off.max():.0%}, where the loss is {truth[known][off.argmax()]:.3g}",
        "higher than all say, of the points": f"{(drawn > truth)[known].mean():.0%}",
        "within 1.96 standard errors of both": f"{holds.mean():.0%}",
        "within them in the lowest tenth": f"{holds[low].mean():.0%}",
        "differences, root mean square": f"{_rms((drawn - truth)[known]):.2g}",
        "standard errors of all, likewise": f"{_rms(all_of_them.loss_stderr.values[known]):.2g}",
        "local minima, as drawn": str(local_minima(drawn)),
        "of all, as drawn": str(local_minima(truth)),
        "of all, beyond two standard errors": str(certain_minima(all_of_them)),
    }


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _at_common_points(one: xr.Dataset, two: xr.Dataset) -> list[xr.Dataset]:
    """Both at the points of the coarser grid, which the other one has too."""
    for axis in ("y", "x"):
        places = matching_points(two[axis].values, one[axis].values)
        one, two = one.isel({axis: places[places >= 0]}), two.isel({axis: np.flatnonzero(places >= 0)})
    return [one, two]


def certain_minima(results: xr.Dataset) -> int:
    """Points inside a sampled plane that are lower than all eight neighbours by two standard errors of differences."""
    plane = results[["loss", "loss_deviation", "examples", "precise_examples"]].drop_vars(("x", "y"))
    lower = xr.ones_like(plane.loss, dtype=bool)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            if (i, j) != (0, 0):
                beside = plane.shift(y=i, x=j).assign_attrs(plane.attrs)
                lower &= beside.loss - plane.loss > BEYOND * difference_stderr(plane, beside)  # false beside the edge
    return int(lower.sum())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="planes from a few fixed examples against sampled ones")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--name", default="first1000")
    chosen = parser.parse_args()
    runs = [run for path in chosen.runs for run in find_runs(path)]
    sys.stdout.write(compared(runs, chosen.name))


if __name__ == "__main__":
    main()
