"""What a measure is: the variables that it writes, and the function that computes them at a step of a training."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import NamedTuple, Protocol

from torch import Tensor

from lossviz.config.measures import MEASURES
from lossviz.config.probe import Probe
from lossviz.data.minibatches import Minibatch
from lossviz.engine.objective import Objective
from lossviz.engine.point import Vector
from lossviz.models.layers import WeightLayer


class NextStep(Protocol):
    """What a probe asks of a training: its next step from here. `training.Stepper` is one."""

    def rate(self, step: int) -> float:
        """The learning rate of a step."""

    def preview(self, gradient: Vector, step: int) -> Vector:
        """The parameters after a step along a gradient, which is not taken."""


@dataclass(frozen=True)
class Step:
    """What a measure may use: the point theta before a step of a training, and all that belongs to the step.

    Attributes:
        objective: in training mode, at theta.
        batch: the minibatch of the step.
        config: the `probe` section.
        layers: the layers of `probe.layers`.
        weight_decay: the factor of the penalty.
        rate: the learning rate of the step.
        preview: from a gradient to the parameters after the optimiser's step.
        later: from a number k to the minibatch of k steps later.
        subset: the fixed examples of `probe.sharpness`; empty for the minibatch of the step.
        seed: the experiment's.
        anchored: whether the network begins every pass from the same state, which takes some 10 ms for 100 layers; not
            needed where `repeats_itself`.
        theta: a copy of the trainable parameters; filled in by `measure_step`, as loss and gradient are.
        loss: L(theta), the data loss of the minibatch.
        gradient: g = grad L(theta).
    """

    objective: Objective
    batch: Minibatch
    config: Probe
    layers: Sequence[WeightLayer] = ()
    weight_decay: float = 0.0
    rate: float = 0.0
    preview: Callable[[Vector], Vector] | None = None
    later: Callable[[int], Minibatch] | None = None
    subset: Sequence[Minibatch] = ()
    seed: int = 0
    anchored: bool = True
    theta: Vector = ()
    loss: float = math.nan
    gradient: Vector = ()

    @cached_property
    def updated(self) -> Vector:
        """The parameters after the optimiser's step.

        Raises:
            ValueError: the optimiser is not known.
        """
        if self.preview is None:
            raise ValueError("this measure needs a preview of the optimiser's step")
        return self.preview(self.gradient)

    def minibatches(self, count: int) -> Iterator[Minibatch]:
        """The minibatch of the step and those of the steps after it, which a longer training would take.

        Raises:
            ValueError: there is only the one of the step.
        """
        yield self.batch
        for i in range(1, count):
            if self.later is None:
                raise ValueError("this measure needs the minibatches of later steps")
            yield self.later(i)


@dataclass(frozen=True)
class Variable:
    """An array that a measure writes at every step: its dimensions, meaning and units.

    Units are "nat" for what has the unit of the loss, such as gradients and Hessians (parameters have none).
    """

    dims: tuple[str, ...]
    long_name: str
    units: str


class Coordinate(NamedTuple):
    """The values of a dimension that a measure adds, with their meaning and units."""

    values: Sequence[float]
    long_name: str
    units: str = "1"


@dataclass(frozen=True)
class Measure:
    """A measure: `MEASURE` in a file of lossviz/probe/measures/.

    Attributes:
        variables: what it writes, by name.
        compute: from a step to float64 tensors of these names and dimensions. It may move the parameters and
            everything else that `undisturbed` puts back.
        coordinates: values of the dimensions that are its own: not step, and not layer.
        passes: how many forward and backward passes over a minibatch it takes, for --dry-run.
        further: what else it computes, in words.
    """

    variables: Mapping[str, Variable]
    compute: Callable[[Step], dict[str, Tensor]]
    coordinates: Callable[[Probe], Mapping[str, Coordinate]] = lambda _: {}
    passes: Callable[[Probe], int] = lambda _: 0
    further: str = ""


def load_measures(config: Probe) -> list[Measure]:
    """The measures that a configuration names, in the order of the table."""
    names = [name.replace("-", "_") for name in MEASURES if name in config.measures]
    return [import_module(f"lossviz.probe.measures.{name}").MEASURE for name in names]
