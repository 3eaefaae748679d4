"""The training curves of a run: what train.nc holds."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lossviz.config import Config
from lossviz.config.schedule import judged
from lossviz.data.load import AnySplit, Dataset
from lossviz.results import CURVES, in_units, protocol, variable

STEP = {
    "loss": ("mean loss of the minibatch, before the update", "nat"),
    "accuracy": ("accuracy on the minibatch, before the update", "%"),
    "penalty": ("L2 penalty, weight_decay / 2 * |theta|^2, before the update", "nat"),
    "lr": ("learning rate of the update", "1"),
}
# Losses, accuracy and penalty come from the device, the learning rate from the schedule.
_BEFORE_RATE = len(STEP) - 1
EVAL = {
    "train_loss": ("mean loss over the training set", "nat"),
    "train_error": ("error over the training set", "%"),
    "val_loss": ("mean loss over the test set", "nat"),
    "val_error": ("error over the test set", "%"),
}


class Curves:
    """Numbers by step and by evaluated step; those of the latest steps wait on the device until `settle`.

    Args:
        config: the variant.
        loss: the name of its loss.
        facts: of network, data and arithmetic, for the file: parameters, outputs, precision.
        terms: the names of further losses.
    """

    def __init__(self, config: Config, loss: str, facts: Mapping[str, int | str], terms: Sequence[str] = ()) -> None:
        assert config.train is not None
        self.config = config
        self._loss, self._facts, self.terms = loss, facts, tuple(terms)
        self._planned = config.train.steps
        only = "val" if config.train.eval_examples == "none" else ""
        self._by_step, self._by_evaluation = dict(STEP), dict(EVAL)
        for term in terms:
            what = f"term {term} of the loss"
            self._by_step[f"loss_{term}"] = (f"{what} of the minibatch, before the update", "nat")
            for name, where in (("train", "training"), ("val", "test")):
                self._by_evaluation[f"{name}_loss_{term}"] = (f"{what} over the {where} set", "nat")
        self._evaluated = [name for name in self._by_evaluation if name.startswith(only)]
        # One array for all steps there will be: what a save costs beside writing does not grow with the training.
        self._table = np.empty((self._planned, len(self._by_step)))
        self._done = 0
        self.evaluations: dict[int, list[float]] = {}
        self.diverged_at: int | None = None
        self._waiting: list[Tensor] = []
        self._rates: list[float] = []

    def add(self, numbers: Sequence[Tensor], lr: float) -> None:
        """Record the next step without waiting for the device.

        Args:
            numbers: loss, accuracy, penalty and further losses.
            lr: the learning rate.
        """
        self._waiting.append(torch.stack([each.double() for each in numbers]))
        self._rates.append(lr)

    def add_evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Record an evaluation."""
        self.evaluations[step] = [values[name] for name in self._evaluated]

    def latest(self) -> dict[str, float]:
        """The latest evaluation, by name."""
        return dict(zip(self._evaluated, self.evaluations[max(self.evaluations)], strict=True))

    def judged(self, step: int) -> Sequence[float]:
        """What the schedule `plateau` goes by, in all evaluations up to a step."""
        rows = [self.evaluations[at] for at in sorted(self.evaluations) if at <= step]
        errors, losses = ([row[self._evaluated.index(name)] for row in rows] for name in ("val_error", "val_loss"))
        return judged(errors, losses)

    def settle(self) -> bool:
        """Fetch the latest steps from the device (one synchronisation); whether every loss is finite.

        Steps after the first loss that is not finite never happened.
        """
        if self._waiting and self.diverged_at is None:
            for row, rate in zip(torch.stack(self._waiting).tolist(), self._rates, strict=True):
                self._table[self._done] = *row[:_BEFORE_RATE], rate, *row[_BEFORE_RATE:]
                self._done += 1
                if not math.isfinite(row[0]):
                    self.diverged_at = self._done - 1
                    break
        self._waiting, self._rates = [], []
        return self.diverged_at is None

    def rewind(self, saved: xr.Dataset, step: int) -> None:
        """Start from an earlier train.nc, as of the moment before step `step`."""
        table = np.stack([saved[name].values for name in self._by_step], axis=-1)
        self._done = len(table[:step])
        self._table[: self._done] = table[:step]
        self.recall(saved, step)

    def recall(self, saved: xr.Dataset, step: int) -> None:
        """Take the evaluations up to a step from an earlier train.nc."""
        rows = np.stack([saved[name].values for name in self._evaluated], axis=-1).tolist()
        at = saved["eval_step"].values.tolist()
        self.evaluations = {int(key): row for key, row in zip(at, rows, strict=True) if key <= step}

    def dataset(self) -> xr.Dataset:
        """The curves as docs/results.md describes them."""
        self.settle()
        table = self._table[: self._done].copy()
        at = sorted(self.evaluations)
        rows = np.array([self.evaluations[step] for step in at], dtype=np.float64).reshape(-1, len(self._evaluated))
        results = xr.Dataset(
            {
                **{
                    name: variable("step", table[:, i], *about) for i, (name, about) in enumerate(self._by_step.items())
                },
                **{
                    name: variable("eval_step", rows[:, i], *self._by_evaluation[name])
                    for i, name in enumerate(self._evaluated)
                },
            },
            coords={
                "step": variable("step", np.arange(len(table)), "updates before this minibatch", "1"),
                "eval_step": variable("eval_step", np.array(at, dtype=np.int64), "updates before this evaluation", "1"),
            },
            attrs={
                **protocol(self.config, self._loss, CURVES),
                **self._facts,
                "steps": self._planned,
                **({} if self.diverged_at is None else {"diverged_at": self.diverged_at}),
            },
        )
        return in_units(results)


def evaluated_splits(data: Dataset, examples: int | Literal["all", "none"], seed: int) -> Mapping[str, AnySplit]:
    """The splits that a training evaluates, by the prefix of their curves.

    Args:
        data: both splits.
        examples: `train.eval_examples`, how many of the training set.
        seed: that chooses them.
    """
    if examples == "none":
        return {"val": data.test}
    return {"train": data.train.choose(examples, "stratified", seed, "train.eval_examples"), "val": data.test}
