"""The results of a training and of a probe: views of what their files say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr
import yaml

from lossviz.config.train import Train
from lossviz.results.files import load_results


@dataclass(frozen=True)
class Results:
    """A view of the contents of a result file; makes no copy of them.

    Attributes:
        data: the variables and attributes of docs/results.md.
    """

    data: xr.Dataset

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file; raises what `load_results` does."""
        return cls(load_results(path))

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The configuration that made the results, as a tree of plain values; empty where the file has none.

        Plain, because a file of another version may hold keys that the schema of this one does not know.
        """
        found: Mapping[str, Any] | None = yaml.safe_load(str(self.data.attrs.get("configuration", "")))
        return found or {}

    @cached_property
    def training(self) -> Train | None:
        """How the network was trained; of a user's own loop only what its optimizer tells, or None."""
        section = self.config.get("train")
        if section is None or "steps" not in section:
            return None if section is None else Train.model_construct(**section)
        return Train.model_validate_json(json.dumps(section))


RECORDED = "recorded_"
"""What the name of a variable begins with that says where another one was recorded."""
# The updates that a last value tells of: that of a minibatch was taken before its update.
_AXES = (("step", 1), ("eval_step", 0))


@dataclass(frozen=True)
class TrainResults(Results):
    """The results of a training, train.nc."""

    @property
    def planned(self) -> int:
        """Steps of the whole training."""
        return int(self.data.attrs["steps"])

    @property
    def recorded(self) -> int:
        """Steps that it has taken so far."""
        return max((int(self.data[axis][-1]) + more for axis, more in _AXES if self.data.sizes[axis]), default=0)

    @property
    def diverged_at(self) -> int | None:
        """The step whose loss was not finite."""
        found = self.data.attrs.get("diverged_at")
        return None if found is None else int(found)

    @property
    def is_empty(self) -> bool:
        """Whether it holds neither a step nor an evaluation."""
        return self.recorded == 0 and self.data.sizes["eval_step"] == 0

    def curve(self, name: str) -> xr.DataArray:
        """The values of a variable where it was recorded: a loop of one's own need not do that at every step."""
        values, recorded = self.data[name], self.data.get(f"{RECORDED}{name}")
        return values if recorded is None else values[recorded.values.astype(bool)]

    @property
    def is_regression(self) -> bool:
        """Whether no accuracy or error was ever a number; a classification has some, even after it diverged."""
        names = [name for name in ("accuracy", "train_error", "val_error") if name in self.data]
        return all(bool(np.isnan(self.data[name].values).all()) for name in names)


@dataclass(frozen=True)
class ProbeResults(Results):
    """The results of a probe, probe.nc."""

    @property
    def planned(self) -> int:
        """Steps that are to be measured."""
        return int(self.data.attrs["planned"])

    @property
    def measured(self) -> int:
        """Steps that are measured."""
        return int(self.data.sizes["step"])

    def has(self, quantity: str) -> bool:
        """Whether there is something of a quantity."""
        return quantity in self.data and self.data[quantity].size > 0
