"""Plain and residual networks among some runs: what each is called, and its look in the figure `residual`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from lossviz.config import Config
from lossviz.config.model import ImagenetResnet, Resnet
from lossviz.plot import training
from lossviz.plot.axes import Floats
from lossviz.plot.he import IMAGENET_CLASSES, he_final
from lossviz.plot.reference import published
from lossviz.plot.series import Series, Shown
from lossviz.plot.style import LINES, Look, look
from lossviz.results import load_results

Kind = Literal["plain", "residual"]


@dataclass(frozen=True)
class Network:
    """A plain or a residual network with its training curves.

    Attributes:
        run: the label that the run has in other figures.
        series: the contents of train.nc; the label is as in He et al. 2015, such as plain-34 or ResNet-34 B.
        final: the published errors after all of the training, by the keys of `he_final`.
    """

    kind: Kind
    run: str
    config: Config
    series: Series
    final: Mapping[str, str]

    @property
    def errors(self) -> Floats:
        """Training error of each minibatch, %; NaN at the step that diverged, which predicted nothing."""
        results = self.series.results
        return np.where(np.isfinite(results.loss.values), 100 - results.accuracy.values, np.nan)


def compares(runs: Sequence[Shown]) -> bool:
    """Whether both plain and residual networks of a family were trained."""
    found = {(model.name, _kind(model)) for model in (_model(each) for each in runs if _is_trained(each)) if model}
    return any({(name, "plain"), (name, "residual")} <= found for name, _ in found)


def networks(runs: Sequence[Shown], reference: bool) -> dict[str, list[Network]]:
    """The networks of each family that have something to draw, shallow ones first.

    Args:
        runs: of any kind; others than `resnet` and `resnet-imagenet` are passed over.
        reference: whether they have the published curves of their counterparts.
    """
    found: dict[str, list[tuple[Shown, Resnet | ImagenetResnet, xr.Dataset]]] = {}
    for each in runs:
        model = _model(each)
        results = load_results(each.run.train_file) if model and _is_trained(each) else None
        if model and results is not None and _has_errors(results):
            found.setdefault(model.name, []).append((each, model, results))
    return {name: _named(members, reference) for name, members in found.items()}


def _named(members: Sequence[tuple[Shown, Resnet | ImagenetResnet, xr.Dataset]], reference: bool) -> list[Network]:
    members = sorted(members, key=lambda member: member[1].depth)
    names = Counter(_name(model) for _, model, _ in members)
    depths = sorted({model.depth for _, model, _ in members})
    seen: Counter[tuple[Kind, int]] = Counter()
    made = []
    for each, model, results in members:
        config, name, kind = each.run.config(), _name(model), _kind(model)
        label = name if names[name] == 1 else f"{name} ({each.label})"
        of_depth = look(depths.index(model.depth))
        # The same depth has the same colour in both panels; a second one in a panel differs by its line.
        style = Look(of_depth.colour, LINES[seen[kind, model.depth] % len(LINES)], of_depth.marker)
        seen[kind, model.depth] += 1
        published_data = isinstance(model, Resnet) or results.attrs.get("outputs") in (None, IMAGENET_CLASSES)
        curves = published("residual", config) if reference and published_data else {}
        series = Series(label, style, results, training.note(results), published=curves)
        made.append(Network(kind, each.label, config, series, he_final(config) if published_data else {}))
    return made


def _name(model: Resnet | ImagenetResnet) -> str:
    """As in He et al. 2015: the shortcut is said where it is not that of their comparison."""
    usual = "B" if model.depth >= 50 and isinstance(model, ImagenetResnet) else "A"
    option = "" if model.shortcut in ("none", usual) else f" {model.shortcut}"
    width = "" if model.width == 1 else f" ×{model.width:g}"
    return f"{'plain' if model.shortcut == 'none' else 'ResNet'}-{model.depth}{option}{width}"


def _kind(model: Resnet | ImagenetResnet) -> Kind:
    return "plain" if model.shortcut == "none" else "residual"


def _model(each: Shown) -> Resnet | ImagenetResnet | None:
    # The folder of an official file has no configuration.
    model = each.run.config().model if each.run.config_file.is_file() else None
    return model if isinstance(model, Resnet | ImagenetResnet) else None


def _is_trained(each: Shown) -> bool:
    return each.run.train_file.exists()


def _has_errors(results: xr.Dataset) -> bool:
    """Whether there is an error to draw; of regression there is none."""
    return bool(np.isfinite(results.accuracy).any() or np.isfinite(results.val_error).any())
