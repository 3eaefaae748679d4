"""From a configuration to what all three kinds of work start with: a device, data, a network."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from lossviz.config import Config
from lossviz.config.data import Data, Images
from lossviz.config.train import Train
from lossviz.data.load import Dataset, load
from lossviz.data.minibatches import Minibatches
from lossviz.engine.backend import Backend, choose_backend
from lossviz.engine.objective import Objective, cross_entropy, squared_error
from lossviz.errors import RequestError
from lossviz.models.build import build
from lossviz.provenance import code_fingerprint, machine, versions
from lossviz.run import Run


@dataclass(frozen=True)
class Setup:
    """One variant, ready to be trained, probed or scanned."""

    config: Config
    run: Run
    backend: Backend
    data: Dataset

    def model(self) -> nn.Module:
        """A freshly initialised network on the device."""
        model = build(self.config.model, self.data.channels, self.data.outputs, self.config.seed)
        model = self.backend.place(model)
        if self.backend.compile:
            model.compile()
        return model

    @property
    def train(self) -> Train:
        """The train section.

        Raises:
            RequestError: the experiment has none.
        """
        if self.config.train is None:
            raise RequestError(
                f"{self.config.name}: has no train section, so it has no steps\n  add train: {{steps: ...}}"
            )
        return self.config.train

    def objective(self) -> Objective:
        """The data loss of a freshly initialised network."""
        return Objective(self.model(), squared_error if self.data.regression else cross_entropy)

    def minibatches(self) -> Minibatches:
        """The training minibatches by step.

        Raises:
            RequestError: a minibatch is larger than the data set.
        """
        train = self.train
        if train.batch_size > len(self.data.train):
            raise RequestError(
                f"train.batch_size = {train.batch_size}: there are {len(self.data.train):,} training examples\n"
                "  accepted: at most that"
            )
        augment = self.config.data.augment if isinstance(self.config.data, Images) else "none"
        return Minibatches(self.data.train, train.batch_size, self.config.seed, augment)

    def facts(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "seed": self.config.seed,
            "machine": machine(),
            "compute": self.backend.facts(),
            "versions": versions(),
            "code": code_fingerprint(),
            "data": _fingerprint(self.config.data, self.config.seed),
        }


def prepare(config: Config, run: Run, device: str) -> Setup:
    """Load data and choose the device.

    Raises:
        RequestError: data or device are not there.
    """
    backend = choose_backend(device, config.train)
    return Setup(config, run, backend, _on_device(config.data, config.seed, backend.device, backend.dtype))


# Variants of an experiment mostly share their data: read, moved and hashed once.
@lru_cache(maxsize=1)
def _load(config: Data, seed: int) -> Dataset:
    return load(config, seed)


@lru_cache(maxsize=1)
def _on_device(config: Data, seed: int, device: torch.device, dtype: torch.dtype) -> Dataset:
    return _load(config, seed).to(device, dtype)


@lru_cache(maxsize=1)
def _fingerprint(config: Data, seed: int) -> dict[str, str]:
    return _load(config, seed).fingerprint()
