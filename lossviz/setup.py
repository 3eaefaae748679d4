"""Prepare a variant for training, probing or scanning: device, data, network."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lossviz.config import Config
from lossviz.config.data import Data, ImageFolder, Resident
from lossviz.config.loss import OwnLoss
from lossviz.config.model import Model, Timm, Transformers
from lossviz.config.own import Own
from lossviz.config.train import Precision, Train
from lossviz.data.collated import CollatedMinibatches
from lossviz.data.iterated import IteratedSplit
from lossviz.data.load import Dataset, load
from lossviz.data.minibatches import Minibatches
from lossviz.data.streamed_minibatches import StreamedMinibatches
from lossviz.engine.backend import Backend, choose_backend
from lossviz.engine.loss import loss_name, per_example
from lossviz.engine.losses import loss_of
from lossviz.engine.objective import Objective
from lossviz.engine.rehearsal import rehearse
from lossviz.engine.tokens import OfTokens
from lossviz.errors import refuse
from lossviz.files import sha256
from lossviz.models.build import build
from lossviz.provenance import code_fingerprint, machine, versions
from lossviz.run import Run
from lossviz.user_code.permissions import NOBODY, Allowed
from lossviz.user_code.targets import hash_files


@dataclass(frozen=True)
class Setup:
    """One variant, ready to be trained, probed or scanned.

    Attributes:
        config: the variant.
        run: its folder.
        backend: where and how it is computed.
        data: its examples.
        allowed: whose code may run.
        terms: names of the losses beside the one that is differentiated.
    """

    config: Config
    run: Run
    backend: Backend
    data: Dataset
    allowed: Allowed = NOBODY
    terms: tuple[str, ...] = ()

    def model(self) -> nn.Module:
        """A freshly initialised network on the device."""
        model = self._eager()
        if self.backend.compile:
            model.compile()
        return model

    def _eager(self) -> nn.Module:
        data, config = self.data, self.config
        built = build(config.model, data.channels, data.outputs, config.seed, data.image_size, self.allowed)
        return self.backend.place(built)

    @property
    def train(self) -> Train:
        """The train section.

        Raises:
            RequestError: the experiment has none.
        """
        if self.config.train is None:
            refuse(self.config.name, "has no train section, so it has no steps", advice="add train: {steps: ...}")
        return self.config.train

    @property
    def loss_name(self) -> str:
        """Name of the objective's loss: cross-entropy, squared-error or own."""
        return loss_name(self.config.loss, self.data.regression)

    def objective(self, *, eager: bool = False) -> Objective:
        """The data loss of a freshly initialised network, compiled as configured unless it must be eager."""
        return self._objective(self._eager() if eager else self.model())

    def _objective(self, model: nn.Module) -> Objective:
        own = isinstance(self.config.loss, OwnLoss)
        loss = per_example(self.config.loss, not own and self.data.regression, self.allowed)
        term = self.config.loss.term if isinstance(self.config.loss, OwnLoss) else None
        tokens = not own and self.data.sequences
        kind = OfTokens() if tokens else loss_of(loss, views=self.data.views, term=term)
        return Objective(model, kind, self.backend.autocast)

    def rehearse(self) -> tuple[str, ...]:
        """Check that network, data and loss fit together, if one of them is not lossviz's; the names of its terms.

        Raises:
            RequestError: they do not.
            WorkError: the person's code fails.
        """
        if not self.own and not isinstance(self.config.model, Transformers | Timm):
            return ()
        return rehearse(self._objective(self._eager()), self.data, differentiable=self.config.train is not None)

    @property
    def own(self) -> list[Own]:
        """The sections that are a person's own."""
        sections = (self.config.data, self.config.model, self.config.loss)
        return [section for section in sections if isinstance(section, Own)]

    def minibatches(self) -> Minibatches | StreamedMinibatches | CollatedMinibatches:
        """The training minibatches by step.

        Raises:
            RequestError: a minibatch is larger than the data set, or the data are batches already.
        """
        train = self.train
        if not isinstance(self.data.train, IteratedSplit) and train.batch_size > len(self.data.train):
            problem = f"there are {len(self.data.train):,} training examples"
            refuse("train.batch_size", problem, given=train.batch_size, accepted="at most that")
        augment = self.config.data.augment if isinstance(self.config.data, Resident | ImageFolder) else "none"
        return self.data.minibatches(train.batch_size, self.config.seed, augment)

    def changed_data(self) -> list[str]:
        """The splits that are not as they were when the run was trained, by their fingerprints."""
        data = self.facts()["data"]
        trained_on = self.run.record().get("train", {}).get("data", data)
        return [split for split, found in data.items() if trained_on.get(split) != found]

    def facts(self) -> dict[str, Any]:
        """What run.json records of every stage."""
        return {
            "seed": self.config.seed,
            "machine": machine(),
            "compute": self.backend.facts(),
            "versions": versions(),
            "code": code_fingerprint(),
            **_folder(self.config.model),
            "own_code": {
                file: digest for each in self.own for file, digest in hash_files(each.target, self.allowed).items()
            },
            "data": _fingerprint(self.config.data, self.config.seed, self.allowed),
        }


def prepare(
    config: Config, run: Run, device: str, allowed: Allowed = NOBODY, *, precision: Precision = "auto"
) -> Setup:
    """Load data and choose the device.

    Args:
        config: the variant.
        run: its folder.
        device: auto, cpu, cuda or cuda:N.
        allowed: whose code may run.
        precision: instead of the training's.

    Raises:
        RequestError: data or device are not there, or a person's own code is not allowed or does not fit.
        WorkError: a person's own code fails.
    """
    backend = choose_backend(device, config.train, precision)
    data = _on_device(config.data, config.seed, allowed, backend.device, backend.dtype)
    setup = Setup(config, run, backend, data, allowed)
    return replace(setup, terms=setup.rehearse())


# Variants of an experiment mostly share their data: read, moved and hashed once.
@lru_cache(maxsize=1)
def _load(config: Data, seed: int, allowed: Allowed) -> Dataset:
    return load(config, seed, allowed)


@lru_cache(maxsize=1)
def _on_device(config: Data, seed: int, allowed: Allowed, device: torch.device, dtype: torch.dtype) -> Dataset:
    return _load(config, seed, allowed).to(device, dtype)


@lru_cache(maxsize=1)
def _fingerprint(config: Data, seed: int, allowed: Allowed) -> dict[str, str]:
    return _load(config, seed, allowed).fingerprint()


@lru_cache(maxsize=8)
def _folder(config: Model) -> dict[str, str]:
    """SHA-256 of the folder that a network begins with, where it does."""
    return {"model_folder": f"sha256:{sha256(Path(config.path))}"} if isinstance(config, Transformers) else {}
