"""What a loop says of its own training: what `Probe.record` keeps in train.nc."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import SupportsFloat

import numpy as np
import xarray as xr
from torch import Tensor

from lossviz.errors import did_you_mean, refuse
from lossviz.results import TrainResults, in_units, load_results, save_results, variable
from lossviz.results.kinds import RECORDED
from lossviz.training.curves import EVAL, STEP

Number = float | Tensor
EARLY = -1
"""The step of what is recorded before the first call; a process that goes on does not know it yet."""


class RecordedCurves:
    """Numbers by step and by evaluated step; tensors stay on their device until `save`.

    Args:
        file: train.nc; what it has already is kept, and steps that are recorded again are replaced.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._steps: dict[int, dict[str, Number]] = {}
        self._evaluations: dict[int, dict[str, Number]] = {}
        if file.exists():
            saved = load_results(file)
            for axis, rows in (("step", self._steps), ("eval_step", self._evaluations)):
                rows |= {at: {} for at in saved[axis].values.tolist()}
                names = [name for name in (*STEP, *EVAL) if name in saved and saved[name].dims == (axis,)]
                for name in names:
                    curve = TrainResults(saved).curve(name)
                    for at, value in zip(curve[axis].values.tolist(), curve.values.tolist(), strict=True):
                        rows[at][name] = value

    def begin(self, step: int) -> None:
        """The step of a call, which is that of all that was recorded before the first one."""
        for rows in (self._steps, self._evaluations):
            if EARLY in rows:
                rows.setdefault(step, {}).update(rows.pop(EARLY))

    def add(self, step: int, done: int, values: Mapping[str, Number]) -> None:
        """Keep numbers.

        Args:
            step: of the update that those of minibatches belong to.
            done: updates before an evaluation that is made now; both `EARLY` before the first call.
            values: by the names of train.nc.

        Raises:
            RequestError: a name is none of these, or a value is not one number.
        """
        for name, value in values.items():
            if name not in STEP and name not in EVAL:
                problem = f"is not a variable of train.nc{did_you_mean([name], [*STEP, *EVAL])}"
                refuse(f"record({name}=...)", problem, accepted=", ".join([*STEP, *EVAL]))
            if isinstance(value, Tensor) and value.numel() != 1:
                refuse(f"record({name}=...)", f"is a tensor {tuple(value.shape)}", accepted="one number")
            if not isinstance(value, Tensor | SupportsFloat):
                refuse(f"record({name}=...)", f"is {type(value).__name__}", accepted="one number")
            rows, at = (self._steps, step) if name in STEP else (self._evaluations, done)
            rows.setdefault(at, {})[name] = value.detach().clone() if isinstance(value, Tensor) else value

    def save(self, attributes: Mapping[str, str | float]) -> None:
        """Write train.nc, if there is anything to write."""
        if max([*self._steps, *self._evaluations], default=EARLY) > EARLY:
            save_results(self.file, self.dataset(attributes))

    def dataset(self, attributes: Mapping[str, str | float]) -> xr.Dataset:
        """The curves as docs/results.md describes them; what was not recorded at a step is NaN, and marked as such."""
        steps, evaluated = _settled(self._steps), _settled(self._evaluations)
        last = max(steps, default=-1) + 1
        # A figure looks for the accuracy, and of a regression for NaN.
        by_step = ["loss", "accuracy", *(name for name in STEP if any(name in row for row in steps.values()))]
        by_evaluation = [name for name in EVAL if any(name in row for row in evaluated.values())]
        results = xr.Dataset(
            {
                **_variables("step", steps, {name: STEP[name] for name in by_step}),
                **_variables("eval_step", evaluated, {name: EVAL[name] for name in by_evaluation}),
            },
            coords={
                "step": variable("step", np.array(sorted(steps), dtype=np.int64), "updates before this minibatch", "1"),
                "eval_step": variable(
                    "eval_step", np.array(sorted(evaluated), dtype=np.int64), "updates before this evaluation", "1"
                ),
            },
            attrs={**attributes, "steps": max([last, *evaluated], default=0)},
        )
        return in_units(results)


def _settled(rows: dict[int, dict[str, Number]]) -> dict[int, dict[str, float]]:
    """The numbers on the host, also from now on."""
    for row in rows.values():
        row.update({name: float(value) for name, value in row.items() if isinstance(value, Tensor)})
    return {at: {name: float(value) for name, value in row.items()} for at, row in rows.items() if at > EARLY}


def _variables(
    axis: str, rows: Mapping[int, Mapping[str, float]], described: Mapping[str, tuple[str, str]]
) -> dict[str, xr.Variable]:
    """The columns, and for those with gaps where they have none."""
    found = {}
    for name, words in described.items():
        column = [rows[at].get(name, math.nan) for at in sorted(rows)]
        recorded = [name in rows[at] for at in sorted(rows)]
        found[name] = variable(axis, np.array(column, dtype=np.float64), *words)
        if not all(recorded):
            found[f"{RECORDED}{name}"] = variable(
                axis, np.array(recorded, np.int8), f"whether {name} was recorded", "1"
            )
    return found
