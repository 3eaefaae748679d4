"""Curves that a paper published: which ship with lossviz, and which run they are the counterpart of."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from lossviz.config import Config
from lossviz.config.schedule import learning_rate
from lossviz.config.train import Plateau, Train


@dataclass(frozen=True)
class Published:
    """A published curve, or both edges of a published band."""

    source: str
    step: NDArray[np.floating]
    edges: tuple[NDArray[np.floating], ...]


def published(figure: str, config: Config) -> Mapping[str, Published]:
    """The published counterparts of a run in a figure, by quantity; see recipes.yaml."""
    found: dict[str, Published] = {}
    for recipe in _fitting(config):
        if recipe["figure"] != figure:
            continue
        for curve in recipe["curves"]:
            if _fits(_tree(config), curve["run"]):
                found |= {quantity: _read(recipe, quantity, name) for quantity, name in curve["files"].items()}
    # A curve that begins after the run ends has nothing to be compared with.
    return {name: curve for name, curve in found.items() if config.train and curve.step[0] < config.train.steps}


def published_final(config: Config) -> Mapping[str, str]:
    """The published errors of the counterpart of a run that is planned as long, after all of its training, in %.

    Keys are training and validation (the ends of the curves in Figure 4 or 6), table (Table 2, 3 or 6) and
    reproduction (akamaster/pytorch_resnet_cifar10); a value may be empty, and there is none without a counterpart.
    """
    model = _tree(config)["model"]
    for recipe in _fitting(config):
        finals = recipe.get("finals")
        if finals and config.train and config.train.steps >= finals["steps"]:
            for row in csv.DictReader(StringIO(_text(f"{finals['file']}.csv"))):
                network = [row.pop(key) for key in ("model", "depth", "shortcut")]
                if network == [str(model[key]) for key in ("name", "depth", "shortcut")]:
                    return row
    return {}


def sources() -> list[str]:
    """The papers, as keys of figures name them."""
    return list(dict.fromkeys(recipe["source"] for recipe in _recipes()))


def needed() -> str:
    """Say what a run must be to have a published counterpart."""
    return "\n  ".join(f"{recipe['source']}: {recipe['needed']}" for recipe in _recipes() if "needed" in recipe)


@cache
def _recipes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(_text("recipes.yaml"))
    return found


def _fitting(config: Config) -> list[dict[str, Any]]:
    tree, train = _tree(config), config.train
    return [
        recipe
        for recipe in _recipes()
        if train and _fits(tree, recipe["run"]) and _follows(train, recipe.get("learning_rates", []))
    ]


def _fits(value: object, pattern: object) -> bool:
    """Whether a configuration, or a value of it, agrees with a pattern of recipes.yaml."""
    if isinstance(pattern, list):
        return any(_fits(value, each) for each in pattern)
    if not isinstance(pattern, dict):
        return value == pattern
    if "at_least" in pattern:
        return isinstance(value, int | float) and value >= pattern["at_least"]
    if "from" in pattern:
        return isinstance(value, list) and (min(value), max(value)) == (pattern["from"], pattern["to"])
    return isinstance(value, dict) and all(_fits(value.get(key), each) for key, each in pattern.items())


def _follows(train: Train, rates: Sequence[tuple[int, float]]) -> bool:
    """Whether the schedule gives these learning rates: at both ends of every part, after the warm-up."""
    if isinstance(train.schedule, Plateau):
        return True
    ends = [start for start, _ in rates[1:]] + [train.steps]
    return all(
        np.isclose(learning_rate(train, step), rate, rtol=1e-9)
        for (start, rate), end in zip(rates, ends, strict=False)
        for step in (max(start, train.warmup), min(end, train.steps) - 1)
        if max(start, train.warmup) <= step < train.steps
    )


def _tree(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(config.model_dump_json())
    return found


def _read(recipe: Mapping[str, Any], quantity: str, name: str) -> Published:
    step, *edges = np.loadtxt(StringIO(_text(f"{name}.csv")), delimiter=",", skiprows=1, unpack=True)
    if quantity in recipe.get("accuracy", ()):
        edges = [100 - edge for edge in edges]
    return Published(recipe["source"], recipe.get("unit", 1) * step, tuple(edges))


def _text(name: str) -> str:
    return (files("lossviz.plot.published") / name).read_text(encoding="utf-8")
