"""Curves that a paper published: which ship with lossviz, and which run they are the counterpart of."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO

import numpy as np
from numpy.typing import NDArray

from lossviz.config import Config
from lossviz.plot.he import HE, HE_NEEDED, he_files

SANTURKAR = "Santurkar et al. 2018"
NEEDED = f"""{SANTURKAR}: data cifar10 with augment none, model vgg, train.optimizer sgd with a constant lr
    training: model.norm none or batch at train.lr 0.1 or 0.5, noisy-batch at 0.1
    landscape: model.norm none or batch at train.lr 0.1, probe.lengths from 0.05 to 0.4
  {HE_NEEDED}"""

# Figure, normalisation and learning rate; then the quantity and its file.
_FILES: dict[tuple[str, str, float], dict[str, str]] = {
    ("training", "none", 0.1): {"accuracy": "fig1a_trainacc_std_lr0.1", "val_error": "fig1b_testacc_std_lr0.1"},
    ("training", "none", 0.5): {"accuracy": "fig1a_trainacc_std_lr0.5", "val_error": "fig1b_testacc_std_lr0.5"},
    ("training", "batch", 0.1): {"accuracy": "fig1a_trainacc_bn_lr0.1", "val_error": "fig1b_testacc_bn_lr0.1"},
    ("training", "batch", 0.5): {"accuracy": "fig1a_trainacc_bn_lr0.5", "val_error": "fig1b_testacc_bn_lr0.5"},
    ("training", "noisy-batch", 0.1): {"accuracy": "fig2_trainacc_noisybn"},
    ("landscape", "none", 0.1): {"loss": "fig4a_std", "grad_distance": "fig4b_std", "smoothness": "fig4c_std"},
    ("landscape", "batch", 0.1): {"loss": "fig4a_bn", "grad_distance": "fig4b_bn", "smoothness": "fig4c_bn"},
}


@dataclass(frozen=True)
class Published:
    """A published curve, or both edges of a published band."""

    source: str
    step: NDArray[np.floating]
    edges: tuple[NDArray[np.floating], ...]


def published(figure: str, config: Config) -> Mapping[str, Published]:
    """The published counterparts of a run in a figure, by quantity; decided by what it is, not by its name."""
    if figure == "residual":
        curves = {quantity: _he(name) for quantity, name in he_files(config).items()}
        # A curve that begins after the run ends has nothing to be compared with.
        return {name: curve for name, curve in curves.items() if config.train and curve.step[0] < config.train.steps}
    return {quantity: _santurkar(quantity, name) for quantity, name in _santurkar_files(figure, config).items()}


def _santurkar_files(figure: str, config: Config) -> Mapping[str, str]:
    data, model, train = config.data, config.model, config.train
    if data.name != "cifar10" or data.augment != "none" or model.name != "vgg" or train is None:
        return {}
    if train.optimizer != "sgd" or train.schedule.kind != "constant":
        return {}
    if figure == "landscape" and (min(config.probe.lengths), max(config.probe.lengths)) != (0.05, 0.4):
        return {}
    return _FILES.get((figure, model.norm, train.lr), {})


def _santurkar(quantity: str, name: str) -> Published:
    step, *edges = _columns(f"santurkar_{name}")
    return Published(SANTURKAR, step, tuple(100 - edge if quantity == "val_error" else edge for edge in edges))


def _he(name: str) -> Published:
    iteration, error = _columns(f"he_{name}")
    return Published(HE, 1e4 * iteration, (error,))


def _columns(name: str) -> NDArray[np.floating]:
    text = (files("lossviz") / "reference" / f"{name}.csv").read_text()
    return np.loadtxt(StringIO(text), delimiter=",", skiprows=1, unpack=True)
