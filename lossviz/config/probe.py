"""The `probe` section: what is measured along the gradient, and how often."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from lossviz.config.measures import MEASURES
from lossviz.config.section import Count, Positive, Section
from lossviz.errors import Refusal

if TYPE_CHECKING:
    Measure = str
else:
    Measure = Literal[tuple(MEASURES)]

_OF_LAYERS = " and ".join(name for name, entry in MEASURES.items() if entry.layers)


class Sharpness(Section):
    """The Hessian whose largest eigenvalues are measured."""

    eigenvalues: Count = Field(1, description="Number of eigenvalues, from the largest on.")
    examples: Literal["minibatch"] | Count = Field(
        "minibatch",
        description="Examples of the loss: the step's minibatch, or that many fixed training examples (stratified).",
    )


class Probe(Section):
    """Measurements on the minibatch of a training step (Santurkar et al. 2018, sections 2.2 and 3.2)."""

    every: Count = Field(100, description="Steps between measurements; also before the first step and after the last.")
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = Field(
        ("landscape",),
        description=" ".join(f"{name}: {entry.meaning}." for name, entry in MEASURES.items()),
    )
    lengths: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        (0.05, 0.1, 0.2, 0.4), description="Step lengths eta along the negative gradient g."
    )
    layers: tuple[Count, ...] = Field(
        (), description=f"Weight layers of {_OF_LAYERS}, counted from 1 in the order of their calls."
    )
    channel: Literal["drawn", "all"] = Field(
        "drawn",
        description="What activations describes. drawn: one channel (unit) of each layer, drawn with the seed, as in "
        "the paper. all: all channels together, which averages out the jumps of single ones.",
    )
    sharpness: Sharpness = Field(Sharpness(), description="Settings of the measure sharpness.")

    def conflicts(self) -> Iterator[Refusal]:
        """Lists out of order, and measures of layers without layers."""
        for key, values in (("probe.lengths", self.lengths), ("probe.layers", self.layers)):
            if list(values) != sorted(set(values)):
                yield Refusal(key, "must grow from one to the next", values)
        for measure in self.measures:
            if MEASURES[measure].layers and not self.layers:
                problem = f"{measure} needs probe.layers, such as layers: [2, 9]"
                yield Refusal("probe.measures", problem, self.measures, also=("probe.layers",))
