"""Plain and residual networks among some runs: what each is called, and its look in the figure `residual`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import xarray as xr

from lossviz.config.model import ImagenetResnet, Resnet
from lossviz.plot.kit.axes import Floats
from lossviz.plot.kit.curves import window_of
from lossviz.plot.kit.style import LINES, Look, look
from lossviz.plot.published.curves import published, published_final
from lossviz.plot.series import PlottedRun, Series, training_note
from lossviz.results import TrainResults

Kind = Literal["plain", "residual"]
# ImageNet's; its errors were published.
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Network(Series):
    """A plain or a residual network with the contents of its train.nc, labelled as in He et al. 2015: ResNet-34 B.

    Attributes:
        run: the label that the run has in other figures.
        final: the published errors after all of the training, by the keys of `published_final`.
    """

    kind: Kind = "plain"
    run: str = ""
    data: str = ""
    final: Mapping[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> Floats:
        """Training error of each minibatch, %; NaN at the step that diverged, which predicted nothing."""
        loss, accuracy = self.results.loss.values, self.results.accuracy.values
        return np.where(np.isfinite(loss), 100 - accuracy, np.nan)


def compares(runs: Sequence[PlottedRun]) -> bool:
    """Whether both plain and residual networks of a family were trained."""
    models = [_model(each) for each in runs if each.run.train_file.exists()]
    found = {(model.name, _kind(model)) for model in models if model}
    return any({(name, "plain"), (name, "residual")} <= found for name, _ in found)


def families(runs: Sequence[PlottedRun], reference: bool) -> dict[str, list[Network]]:
    """The networks of each family that have something to draw, shallow ones first.

    Args:
        runs: of any kind; others than `resnet` and `resnet-imagenet` are passed over.
        reference: whether they have the published curves of their counterparts.
    """
    found: dict[str, list[tuple[PlottedRun, Resnet | ImagenetResnet, xr.Dataset]]] = {}
    for each in runs:
        model = _model(each)
        if model and each.trained is not None and _has_errors(each.trained):
            found.setdefault(model.name, []).append((each, model, each.trained))
    return {name: _named(members, reference) for name, members in found.items()}


def is_of_family(each: PlottedRun) -> bool:
    """Whether a run is one of the networks that these figures compare."""
    return _model(each) is not None


def planned_steps(networks: Sequence[Network]) -> int:
    """Steps of the longest training."""
    return max(TrainResults(each.results).planned for each in networks)


def window(networks: Sequence[Network]) -> int:
    """Iterations over which training errors are averaged: a 100th of the longest run.

    Short runs have that of the figure `training`, but at most 100.
    """
    steps = planned_steps(networks)
    return max(steps // 100, min(window_of(steps), 100))


def _named(members: Sequence[tuple[PlottedRun, Resnet | ImagenetResnet, xr.Dataset]], reference: bool) -> list[Network]:
    members = sorted(members, key=lambda member: member[1].depth)
    names = Counter(_name(model) for _, model, _ in members)
    depths = sorted({model.depth for _, model, _ in members})
    seen: Counter[tuple[Kind, int]] = Counter()
    made = []
    for each, model, results in members:
        name, kind = _name(model), _kind(model)
        label = name if names[name] == 1 else f"{name} ({each.label})"
        of_depth = look(depths.index(model.depth))
        # The same depth has the same colour in both panels; a second one in a panel differs by its line.
        style = Look(of_depth.colour, LINES[seen[kind, model.depth] % len(LINES)], of_depth.marker)
        seen[kind, model.depth] += 1
        published_data = isinstance(model, Resnet) or results.attrs.get("outputs") in (None, IMAGENET_CLASSES)
        config = each.config if published_data else None
        made.append(
            Network(
                label,
                style,
                results,
                training_note(TrainResults(results)),
                published=published("residual", config) if reference and config else {},
                kind=kind,
                run=each.label,
                data=each.config.data.name if each.config else "",
                final=published_final(config) if config else {},
            )
        )
    return made


def _name(model: Resnet | ImagenetResnet) -> str:
    """The name as in He et al. 2015, with the shortcut if it is not that of their comparison."""
    usual = "B" if model.depth >= 50 and isinstance(model, ImagenetResnet) else "A"
    option = "" if model.shortcut in ("none", usual) else f" {model.shortcut}"
    width = "" if model.width == 1 else f" ×{model.width:g}"
    return f"{'plain' if model.shortcut == 'none' else 'ResNet'}-{model.depth}{option}{width}"


def _kind(model: Resnet | ImagenetResnet) -> Kind:
    return "plain" if model.shortcut == "none" else "residual"


def _model(each: PlottedRun) -> Resnet | ImagenetResnet | None:
    model = each.config.model if each.config else None
    return model if isinstance(model, Resnet | ImagenetResnet) else None


def _has_errors(results: xr.Dataset) -> bool:
    """Whether there is an error to draw; of regression there is none."""
    return bool(np.isfinite(results.accuracy).any() or np.isfinite(results.val_error).any())
